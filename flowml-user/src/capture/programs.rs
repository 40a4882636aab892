//! The programs in the kernel: a process loads each once and attaches it to any number of interfaces.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};

use super::error::CaptureError;

/// The programs of an object, and the maps that they count in.
pub struct Programs {
    ebpf: Ebpf,
    /// Whether the programs that look into tunnels are used.
    tunnels: bool,
    /// The verifier's reasons for the programs that it refused. They are not loaded again.
    refused: BTreeMap<&'static str, String>,
}

impl Programs {
    pub(super) const fn new(ebpf: Ebpf, tunnels: bool) -> Self {
        Self { ebpf, tunnels, refused: BTreeMap::new() }
    }

    /// The object, for its log and for tests that run a program without attaching it.
    pub const fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// The map with this name.
    pub(super) fn map(&self, name: &'static str) -> Result<&Map, CaptureError> {
        self.ebpf.map(name).ok_or(CaptureError::NotOurObject { missing: name })
    }

    /// The loaded XDP program: the one for frames in several buffers if the kernel supports them (Linux 5.18).
    ///
    /// # Errors
    /// The verifier's reason for refusing the other program.
    pub fn xdp(&mut self) -> Result<&mut Xdp, CaptureError> {
        let name = if self.takes_frags() {
            self.named(FRAGS)
        } else {
            let name = self.named(XDP);
            self.load_xdp(name)?;
            name
        };
        self.program(name)
    }

    /// The name in the object of the program for a hook.
    const fn named(&self, [outer, inner]: Names) -> &'static str {
        if self.tunnels { inner } else { outer }
    }

    /// Whether the kernel accepts an XDP program for frames in several buffers (Linux 5.18).
    pub fn takes_frags(&mut self) -> bool {
        self.load_xdp(self.named(FRAGS)).is_ok()
    }

    fn load_xdp(&mut self, name: &'static str) -> Result<(), CaptureError> {
        self.load(name, |program: &mut Xdp| program.load())
    }

    /// A loaded tc program.
    ///
    /// # Errors
    /// The verifier's reason for refusing it.
    pub fn tc(&mut self, names: Names) -> Result<&mut SchedClassifier, CaptureError> {
        let name = self.named(names);
        self.load(name, |program: &mut SchedClassifier| program.load())?;
        self.program(name)
    }

    /// Loads a program, once for all interfaces.
    fn load<P>(
        &mut self,
        name: &'static str,
        load: impl FnOnce(&mut P) -> Result<(), ProgramError>,
    ) -> Result<(), CaptureError>
    where
        for<'a> &'a mut P: TryFrom<&'a mut Program>,
    {
        if let Some(reason) = self.refused.get(name) {
            return Err(CaptureError::Program { reason: reason.clone() });
        }
        match load(self.program(name)?) {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
            Err(error) => {
                let error = CaptureError::program(&error);
                if let CaptureError::Program { reason } = &error {
                    self.refused.insert(name, reason.clone());
                }
                Err(error)
            }
        }
    }

    fn program<'a, P>(&'a mut self, name: &'static str) -> Result<&'a mut P, CaptureError>
    where
        &'a mut P: TryFrom<&'a mut Program>,
    {
        let program = self.ebpf.program_mut(name).ok_or(CaptureError::NotOurObject { missing: name })?;
        program.try_into().map_err(|_| CaptureError::NotOurObject { missing: name })
    }
}

/// The names of the programs for a hook: the one for outer flows, and the one that looks into tunnels.
pub type Names = [&'static str; 2];

const FRAGS: Names = ["flowml_xdp_frags", "flowml_xdp_frags_inner"];
const XDP: Names = ["flowml_xdp", "flowml_xdp_inner"];

/// The programs for received packets, in tc mode.
pub const INGRESS: Names = ["flowml_ingress", "flowml_ingress_inner"];

/// The programs for sent packets.
pub const EGRESS: Names = ["flowml_egress", "flowml_egress_inner"];
