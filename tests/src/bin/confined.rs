//! Tries each call in a sandboxed process, or executes a program as on a kernel without Landlock.
//!
//! `confined on|off INSIDE OUTSIDE` prints a line for each attempt: whether it is forbidden or needed, its name, and
//! the error number (0 for none). `confined older PROGRAM [ARGUMENT]...` executes the program.

use std::ffi::{CStr, c_long};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;
use std::{env, ptr, thread};

use anyhow::{Context, Result, bail, ensure};
use flowml_user::process::sandbox::{Confined, Reach, confine, filter_calls};

/// The inputs of an attempt.
struct Place {
    inside: PathBuf,
    outside: PathBuf,
    /// A listener at the allowed port, opened before the sandbox is active.
    listener: TcpListener,
}

/// One attempt.
struct Attempt {
    /// Whether a run of the agent needs it.
    needed: bool,
    name: &'static str,
    work: fn(&Place) -> io::Result<()>,
}

const fn forbidden(name: &'static str, work: fn(&Place) -> io::Result<()>) -> Attempt {
    Attempt { needed: false, name, work }
}

const fn needed(name: &'static str, work: fn(&Place) -> io::Result<()>) -> Attempt {
    Attempt { needed: true, name, work }
}

/// All attempts. A call that could do harm has wrong arguments: the kernel reports them unless the call is refused
/// first.
const ATTEMPTS: &[Attempt] = &[
    forbidden("execute a program", |_| Command::new("/bin/true").status().map(drop)),
    forbidden("start a process", |_| {
        // SAFETY: the child only ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the child has no state that must be cleaned up.
            unsafe { libc::_exit(0) };
        }
        answer(child.into())
    }),
    forbidden("read elsewhere", |place| File::open(place.outside.join("secret")).map(drop)),
    forbidden("write elsewhere", |place| File::create(place.outside.join("new")).map(drop)),
    forbidden("make a link", |place| std::os::unix::fs::symlink(&place.outside, place.inside.join("link"))),
    forbidden("open a packet socket", |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    forbidden("open a vsock", |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    forbidden("open a socket of the kernel's ciphers", |_| socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    forbidden("open netlink of the packet filter", |_| {
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER)
    }),
    forbidden("listen", |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)),
    forbidden("connect to another port", |place| {
        let port = place.listener.local_addr()?.port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port ^ 1)).map(drop)
    }),
    forbidden("load a BPF program", |_| call(libc::SYS_bpf, [5, 0, 0])),
    forbidden("make a BPF map", |_| call(libc::SYS_bpf, [0, 0, 0])),
    forbidden("take a BPF program by its number", |_| call(libc::SYS_bpf, [13, 0, 0])),
    forbidden("trace a process", |_| call(libc::SYS_ptrace, [16, -1, 0])),
    forbidden("mount", |_| {
        let [none, target] = [c"none", c"/nonexistent"].map(CStr::as_ptr);
        // SAFETY: the strings end with 0.
        answer(unsafe { libc::mount(none, target, none, 0, ptr::null()) }.into())
    }),
    forbidden("load a kernel module", |_| call(libc::SYS_finit_module, [-1, 0, 0])),
    forbidden("ask for a keyring", |_| call(libc::SYS_keyctl, [0, -3, 0])),
    forbidden("open performance events", |_| call(libc::SYS_perf_event_open, [0, 0, -1])),
    forbidden("handle page faults", |_| call(libc::SYS_userfaultfd, [-1, 0, 0])),
    forbidden("make a namespace", |_| call(libc::SYS_unshare, [libc::CLONE_NEWUTS.into(), 0, 0])),
    forbidden("join a namespace", |_| call(libc::SYS_setns, [-1, 0, 0])),
    forbidden("change the root", |_| {
        // SAFETY: the string ends with 0.
        answer(unsafe { libc::chroot(c"/nonexistent".as_ptr()) }.into())
    }),
    forbidden("change the user", |_| call(libc::SYS_setresuid, [0, 0, 0])),
    forbidden("signal another process", |_| {
        // SAFETY: signal 0 has no effect.
        answer(unsafe { libc::kill(libc::getppid(), 0) }.into())
    }),
    forbidden("map memory to execute", |_| map(libc::PROT_READ | libc::PROT_EXEC)),
    forbidden("make a file in memory", |_| {
        // SAFETY: the string ends with 0.
        answer(unsafe { libc::memfd_create(c"x".as_ptr(), 0) }.into())
    }),
    // TIOCSTI of asm-generic/ioctls.h, on a descriptor that is no terminal.
    forbidden("type on a terminal", |_| call(libc::SYS_ioctl, [0, 0x5412, 0])),
    needed("start a thread that writes, renames and removes inside", |place| {
        let inside = place.inside.clone();
        thread::Builder::new()
            .spawn(move || -> io::Result<()> {
                fs::create_dir(inside.join("folder"))?;
                fs::write(inside.join("folder/part"), "rows")?;
                fs::rename(inside.join("folder/part"), inside.join("folder/whole"))?;
                File::open(inside.join("folder"))?.sync_all()?;
                fs::remove_file(inside.join("folder/whole"))
            })?
            .join()
            .expect("no panic")
    }),
    needed("read what the kernel reports about this process", |_| fs::read("/proc/self/status").map(drop)),
    needed("update a BPF map", |_| call(libc::SYS_bpf, [2, 0, 0])),
    needed("attach a BPF program", |_| call(libc::SYS_bpf, [28, 0, 0])),
    needed("send by UDP", |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.send_to(b"x", "127.0.0.1:9").map(drop)),
    needed("send to a service manager", |_| UnixDatagram::unbound().map(drop)),
    needed("connect to the port that is named, and take a connection", |place| {
        let _ours = TcpStream::connect(place.listener.local_addr()?)?;
        place.listener.accept().map(drop)
    }),
    needed("ask for rights of rtnetlink", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)),
    needed("map memory", |_| map(libc::PROT_READ | libc::PROT_WRITE)),
];

fn answer(returned: c_long) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn call(number: c_long, arguments: [c_long; 3]) -> io::Result<()> {
    let [first, second, third] = arguments;
    // SAFETY: the arguments are numbers, or invalid pointers that the kernel rejects.
    answer(unsafe { libc::syscall(number, first, second, third, 0_u64, 0_u64, 0_u64) })
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    // SAFETY: the arguments are numbers.
    answer(unsafe { libc::socket(family, kind, protocol) }.into())
}

fn map(protection: i32) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the kernel chooses an unused address.
    let place = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words {
        [switch @ ("on" | "off"), inside, outside] => attempt_all(switch == "on", inside.into(), outside.into()),
        ["older", program, ref rest @ ..] => {
            hide_landlock().context("hiding Landlock")?;
            Err(Command::new(program).args(rest).exec()).with_context(|| format!("starting {program}"))
        }
        _ => bail!("expected on|off INSIDE OUTSIDE, or older PROGRAM [ARGUMENT]..., not {words:?}"),
    }
}

/// Makes all attempts in a thread that was started after access to files was restricted, and before system calls were
/// filtered.
fn attempt_all(confined: bool, inside: PathBuf, outside: PathBuf) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    if confined {
        let mut reach = Reach::system();
        reach.write_in(&inside);
        reach.connect(listener.local_addr()?.port());
        let Confined { enforced, missing } = confine(&reach);
        ensure!(enforced && missing.is_none(), "{missing:?}");
    }
    let (begin, begun) = channel();
    let thread = thread::spawn(move || {
        begun.recv().expect("the first thread goes on");
        let place = Place { inside, outside, listener };
        for Attempt { needed, name, work } in ATTEMPTS {
            let error = work(&place).err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
            println!("{}\t{name}\t{error}", if *needed { "needed" } else { "forbidden" });
        }
    });
    if confined {
        filter_calls().map_err(anyhow::Error::msg)?;
    }
    begin.send(())?;
    thread.join().expect("no panic");
    Ok(())
}

/// Makes the first call of Landlock fail from now on, as on a kernel without Landlock.
fn hide_landlock() -> io::Result<()> {
    // Load the call's number, jump over the next instruction, and two results (linux/filter.h, linux/seccomp.h).
    let instruction = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let number = libc::SYS_landlock_create_ruleset as u32;
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program.
    answer(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0_u64, &raw const program) })
}
