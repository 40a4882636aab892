//! The programs in the kernel: a process loads each once and attaches it to any number of interfaces.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};

use super::error::CaptureError;

/// The programs of an object, and the maps that they count in.
pub struct Programs {
    ebpf: Ebpf,
    /// The verifier's reasons for the programs that it refused. They are not loaded again.
    refused: BTreeMap<&'static str, String>,
}

impl Programs {
    pub(super) const fn new(ebpf: Ebpf) -> Self {
        Self { ebpf, refused: BTreeMap::new() }
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
            "flowml_xdp_frags"
        } else {
            self.load_xdp("flowml_xdp")?;
            "flowml_xdp"
        };
        self.program(name)
    }

    /// Whether the kernel accepts an XDP program for frames in several buffers (Linux 5.18).
    pub fn takes_frags(&mut self) -> bool {
        self.load_xdp("flowml_xdp_frags").is_ok()
    }

    fn load_xdp(&mut self, name: &'static str) -> Result<(), CaptureError> {
        self.load(name, |program: &mut Xdp| program.load())
    }

    /// A loaded tc program.
    ///
    /// # Errors
    /// The verifier's reason for refusing it.
    pub fn tc(&mut self, name: &'static str) -> Result<&mut SchedClassifier, CaptureError> {
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

/// Name of the program for received packets, in tc mode.
pub(crate) const INGRESS: &str = "flowml_ingress";

/// Name of the program for sent packets.
pub(crate) const EGRESS: &str = "flowml_egress";
