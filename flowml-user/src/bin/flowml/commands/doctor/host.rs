//! Checks the host: kernel, capabilities, memory.

use std::fs;

use flowml_common::time::Boundaries;
use flowml_user::capture::cpus::Cpus;
use flowml_user::capture::kernel::{KernelTable, Size};
use flowml_user::capture::programs::{EGRESS, INGRESS};
use flowml_user::capture::{CaptureError, UNKNOWN_PREEMPTION};
use flowml_user::object;
use flowml_user::process::capabilities::{self, CapabilitySet};
use flowml_user::process::kernel::{Preemption, release, version};
use flowml_user::process::{memory, sandbox};
use rustix::process::{Resource, getrlimit};
use serde_json::Value;

use super::{Finding, Severity};

/// The oldest supported kernel version.
const FLOOR: (u32, u32) = (5, 15);

/// The kernel version from which on maps no longer count as locked memory, but as memory of the control group.
const NO_MEMLOCK: (u32, u32) = (5, 11);

/// Flows per CPU of the table that is loaded as a trial.
const TRIAL_CAPACITY: u32 = 64;

/// The state of the host.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The kernel release, as in `uname -r`.
    release: String,
    has_object: bool,
    capabilities: CapabilitySet,
    /// The result of loading the programs, if it was tried: whether XDP accepts multi-buffer frames.
    pub(super) programs: Option<Result<bool, String>>,
    jit: Option<u8>,
    preemption: Preemption,
    /// The ABI version of Landlock.
    landlock: Option<i32>,
    seccomp: bool,
    /// The limit of locked memory, bytes; None means no limit.
    memlock: Option<u64>,
    pub(super) cpus: Cpus,
    /// The memory of the host or of the control group, bytes.
    memory: Option<u64>,
    /// Available memory, bytes.
    available: Option<u64>,
}

impl Facts {
    pub(super) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let capabilities = capabilities::effective().unwrap_or(CapabilitySet::empty());
        let able = capabilities::missing(capabilities).is_empty();
        Self {
            release: release(),
            has_object: object::embedded().is_some(),
            capabilities,
            programs: object::embedded().filter(|_| able).map(|object| load(object).map_err(|error| error.to_string())),
            jit: read("/proc/sys/net/core/bpf_jit_enable").and_then(|text| text.parse().ok()),
            preemption: Preemption::of_kernel(),
            landlock: sandbox::landlock_version(),
            seccomp: sandbox::has_filters(),
            memlock: getrlimit(Resource::Memlock).current,
            cpus: Cpus::possible().unwrap_or(Cpus { count: 1, numbers: 1 }),
            memory: memory::available(),
            available: read("/proc/meminfo").and_then(|text| available(&text)),
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.kernel(), self.agent(), self.permission()];
        findings.extend(self.programs());
        findings.extend(self.jit());
        findings.extend([self.preemption(), self.cpus(), self.memory(), self.memlock()]);
        findings.extend([self.landlock(), self.seccomp()]);
        findings
    }

    fn kernel(&self) -> Finding {
        let (major, minor) = FLOOR;
        let (severity, message) = match version(&self.release) {
            Some(version) if version >= FLOOR => (Severity::Ok, format!("Linux {}", self.release)),
            Some(_) => (Severity::Problem, format!("Linux {}: {major}.{minor} or newer is needed", self.release)),
            None => (Severity::Note, format!("Linux {:?}: {major}.{minor} or newer is needed", self.release)),
        };
        Finding::new("kernel", severity, message).value(self.release.as_str())
    }

    fn agent(&self) -> Finding {
        let finding = if self.has_object {
            Finding::new("agent", Severity::Ok, "this build includes the kernel programs")
        } else {
            Finding::new("agent", Severity::Problem, CaptureError::NoObject.to_string())
                .fix("cargo xtask build --release")
        };
        finding.value(self.has_object)
    }

    fn permission(&self) -> Finding {
        let missing = capabilities::missing(self.capabilities);
        let finding = if missing.is_empty() {
            Finding::new("capabilities", Severity::Ok, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are available")
        } else {
            Finding::new("capabilities", Severity::Problem, format!("missing: {}", missing.join(", ")))
                .fix("sudo flowml run, or systemctl start flowml (the service has exactly these three)")
        };
        finding.value(missing)
    }

    fn programs(&self) -> Option<Finding> {
        Some(match self.programs.as_ref()? {
            Ok(true) => Finding::new("programs", Severity::Ok, "the kernel accepts them, including multi-buffer XDP")
                .value(true),
            Ok(false) => {
                let message =
                    "the kernel accepts them, but XDP for single-buffer frames only (multi-buffer: Linux 5.18)";
                Finding::new("programs", Severity::Note, message).value(false)
            }
            Err(error) => Finding::new("programs", Severity::Problem, error.as_str()),
        })
    }

    fn jit(&self) -> Option<Finding> {
        let jit = self.jit?;
        let finding = match jit {
            0 => Finding::new(
                "jit",
                Severity::Warning,
                "BPF programs are interpreted: about ten times slower than compiled ones",
            )
            .fix("sysctl -w net.core.bpf_jit_enable=1"),
            _ => Finding::new("jit", Severity::Ok, "BPF programs are compiled"),
        };
        Some(finding.value(jit))
    }

    fn preemption(&self) -> Finding {
        let found = |severity, message: &str| Finding::new("preemption", severity, message);
        let fix = "boot a kernel without PREEMPT_RT, or one with PREEMPT_RT_NEEDS_BH_LOCK";
        let finding = match self.preemption {
            Preemption::Disabled => found(Severity::Ok, "not PREEMPT_RT"),
            Preemption::Locked => found(Severity::Ok, "PREEMPT_RT, with bottom halves of a CPU excluding each other"),
            Preemption::Possible => found(Severity::Problem, &CaptureError::Preemptible.to_string()).fix(fix),
            Preemption::Unknown => found(Severity::Warning, UNKNOWN_PREEMPTION).fix(fix),
        };
        finding.value(self.preemption != Preemption::Disabled)
    }

    fn cpus(&self) -> Finding {
        let message = match self.cpus {
            Cpus { count: 1, .. } => "1 possible CPU".to_owned(),
            Cpus { count, numbers } if numbers > count => {
                format!(
                    "{count} possible CPUs with numbers below {numbers}; the flow table has a section for each number"
                )
            }
            Cpus { count, .. } => format!("{count} possible CPUs, each with its own section of the flow table"),
        };
        Finding::new("cpu", Severity::Ok, message).value(self.cpus.count)
    }

    fn memory(&self) -> Finding {
        let size = Size::new(self.cpus.numbers, None, None, None, self.memory);
        let mib = |bytes: u64| bytes >> 20;
        let table = format!("the flow table takes {} MiB", mib(size.bytes()));
        let fewer = format!("flowml run --flow-capacity {}", size.shape.entries() / 4);
        let finding = match self.available {
            None => Finding::new(
                "memory",
                Severity::Note,
                format!("{table}; available memory is unknown, as MemAvailable cannot be read from /proc/meminfo"),
            ),
            Some(free) if free < size.bytes() => {
                let message = format!("{table}, but only {} MiB are available", mib(free));
                Finding::new("memory", Severity::Problem, message).fix(fewer)
            }
            Some(free) if free < 4 * size.bytes() => {
                let message = format!("{table} of {} MiB available memory", mib(free));
                Finding::new("memory", Severity::Warning, message).fix(fewer)
            }
            Some(free) => {
                Finding::new("memory", Severity::Ok, format!("{table} of {} MiB available memory", mib(free)))
            }
        };
        finding.value(size.bytes())
    }

    fn landlock(&self) -> Finding {
        let found = |severity, message: &str| Finding::new("landlock", severity, message);
        let finding = match self.landlock {
            None => {
                found(Severity::Warning, sandbox::WITHOUT_LANDLOCK).fix("boot with 'landlock' in the parameter lsm=")
            }
            Some(version) => match sandbox::lacks(version) {
                None => found(Severity::Ok, "'run' can access only the files and ports that it was given"),
                Some(lacks) => found(Severity::Note, &lacks),
            },
        };
        finding.value(self.landlock.map_or(Value::Null, Value::from))
    }

    fn seccomp(&self) -> Finding {
        let finding = if self.seccomp {
            Finding::new(
                "seccomp",
                Severity::Ok,
                "after attaching, 'run' is limited to the system calls that metering needs",
            )
        } else {
            Finding::new("seccomp", Severity::Warning, "the kernel does not filter system calls")
                .fix("boot a kernel with CONFIG_SECCOMP_FILTER")
        };
        finding.value(self.seccomp)
    }

    fn memlock(&self) -> Finding {
        let limit = self.memlock.map_or_else(|| "no limit".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
        let counts = version(&self.release).is_some_and(|version| version < NO_MEMLOCK);
        let finding = match self.memlock {
            Some(_) if counts => {
                Finding::new("memlock", Severity::Warning, format!("{limit}; BPF maps count as locked memory"))
                    .fix("ulimit -l unlimited")
            }
            Some(_) => {
                Finding::new("memlock", Severity::Ok, format!("{limit}; BPF maps do not count as locked memory"))
            }
            None => Finding::new("memlock", Severity::Ok, limit),
        };
        finding.value(self.memlock.map_or(Value::Null, Value::from))
    }
}

/// Loads all programs that `run` may attach, with a small table, and drops them. Returns whether XDP accepts
/// multi-buffer frames.
fn load(object: &[u8]) -> Result<bool, CaptureError> {
    let mut table = KernelTable::load(object, Some(TRIAL_CAPACITY), None, None, Boundaries::default(), None)?;
    table.programs.xdp()?;
    for names in [INGRESS, EGRESS] {
        table.programs.tc(names)?;
    }
    Ok(table.programs.takes_frags())
}

/// `MemAvailable` of /proc/meminfo, bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_known;
    use super::*;

    fn good() -> Facts {
        Facts {
            release: "6.12.9-amd64".to_owned(),
            has_object: true,
            capabilities: capabilities::NEEDED.iter().map(|(needed, _)| *needed).collect(),
            programs: Some(Ok(true)),
            jit: Some(1),
            preemption: Preemption::Disabled,
            landlock: Some(6),
            seccomp: true,
            memlock: Some(8 << 20),
            cpus: Cpus { count: 4, numbers: 4 },
            memory: Some(16 << 30),
            available: Some(8 << 30),
        }
    }

    fn severity(facts: &Facts, check: &str) -> Severity {
        let findings = facts.findings();
        assert_known(&findings);
        findings.iter().find(|finding| finding.check == check).map(|finding| finding.severity).expect(check)
    }

    #[test]
    fn a_good_host_needs_no_fix() {
        assert!(good().findings().iter().all(|finding| finding.severity == Severity::Ok && finding.fix.is_none()));
    }

    #[test]
    fn each_fault_has_its_severity() {
        let cases = [
            ("kernel", Severity::Problem, Facts { release: "5.10.0".to_owned(), ..good() }),
            ("kernel", Severity::Note, Facts { release: "homegrown".to_owned(), ..good() }),
            ("agent", Severity::Problem, Facts { has_object: false, ..good() }),
            ("capabilities", Severity::Problem, Facts { capabilities: CapabilitySet::empty(), ..good() }),
            ("capabilities", Severity::Problem, Facts { capabilities: CapabilitySet::SYS_ADMIN, ..good() }),
            (
                "capabilities",
                Severity::Ok,
                Facts { capabilities: CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN, ..good() },
            ),
            ("programs", Severity::Note, Facts { programs: Some(Ok(false)), ..good() }),
            ("programs", Severity::Problem, Facts { programs: Some(Err("too long".to_owned())), ..good() }),
            ("jit", Severity::Warning, Facts { jit: Some(0), ..good() }),
            ("preemption", Severity::Ok, Facts { preemption: Preemption::Locked, ..good() }),
            ("preemption", Severity::Warning, Facts { preemption: Preemption::Unknown, ..good() }),
            ("preemption", Severity::Problem, Facts { preemption: Preemption::Possible, ..good() }),
            ("memory", Severity::Problem, Facts { available: Some(1 << 20), ..good() }),
            ("memory", Severity::Warning, Facts { available: Some(1 << 30), ..good() }),
            ("memory", Severity::Note, Facts { available: None, ..good() }),
            ("memlock", Severity::Warning, Facts { release: "5.10.0".to_owned(), ..good() }),
            ("memlock", Severity::Ok, Facts { memlock: None, ..good() }),
            ("landlock", Severity::Warning, Facts { landlock: None, ..good() }),
            ("landlock", Severity::Note, Facts { landlock: Some(3), ..good() }),
            ("landlock", Severity::Ok, Facts { landlock: Some(7), ..good() }),
            ("seccomp", Severity::Warning, Facts { seccomp: false, ..good() }),
        ];
        for (check, expected, facts) in cases {
            assert_eq!(severity(&facts, check), expected, "{check} of {facts:?}");
        }
    }

    #[test]
    fn files_of_the_kernel_are_parsed() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }
}
