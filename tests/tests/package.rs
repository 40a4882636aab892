//! Installs the Debian package in a minimal system, and checks its content.
//!
//! The package contains the agent under test. `cargo xtask dist` would link it statically and optimise it; everything
//! else is the same.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use flowml_tests::agent::{binary, target};
use flowml_tests::lab::{LinkOptions, or_skip, require_lab};
use flowml_tests::process::Process;

/// Longest time for one of the steps on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// The output of `cargo xtask dist` with the agent, made once for all tests.
struct Made {
    pages: PathBuf,
    package: PathBuf,
}

fn made() -> Result<&'static Made> {
    static MADE: OnceLock<Result<Made, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|error| anyhow!("{error}"))
}

fn make() -> Result<Made> {
    let xtask = target().join("debug/xtask");
    ensure!(xtask.is_file(), "there is no {}: run `cargo build --package xtask`", xtask.display());
    let (agent, dist) = (binary()?, target().join("dist-of-tests"));
    run([
        xtask.as_os_str(),
        "dist".as_ref(),
        "--agent".as_ref(),
        agent.as_os_str(),
        "--output".as_ref(),
        dist.as_os_str(),
    ])?;
    let files = fs::read_dir(&dist)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let package = files.into_iter().find(|path| path.extension() == Some(OsStr::new("deb")));
    Ok(Made { pages: dist.join("pages"), package: package.context("no package was made")? })
}

/// Runs a command, which must succeed, and returns its output.
fn run<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Result<Output> {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().context("a program")?);
    command.args(words).env("LC_ALL", "C.UTF-8");
    let named = format!("{command:?}");
    let output = Process::start(command)?.wait(LIMIT)?;
    let message = || [&output.stdout[..], &output.stderr[..]].concat();
    ensure!(output.status.success(), "{named}: {}\n{}", output.status, String::from_utf8_lossy(&message()));
    Ok(output)
}

/// Commands that run in a separate system: a minimal Debian under a layer that is removed with the mount namespace.
/// `$1` is that Debian, `$2` the package, `$3` an interface.
const INSTALL: &str = r#"
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
    root=/mnt/root
    mount -t proc proc $root/proc
    mount --rbind /sys $root/sys
    cp "$2" $root/tmp/flowml.deb

    chroot $root dpkg --install /tmp/flowml.deb
    test -z "$(chroot $root dpkg --verify flowml)"
    test ! -e $root/etc/systemd/system/multi-user.target.wants/flowml.service
    chroot $root /usr/bin/flowml --version
    chroot $root flowml doctor -i "$3"
    ! chroot $root flowml doctor -i nowhere7 2>/dev/null >/dev/null
    chroot $root flowml run -qq -i "$3" --config /etc/flowml/flowml.toml --model /tmp/model.json --duration 100ms
    test -s $root/tmp/model.json

    # The least Debian has no other units, which a unit is verified with: here it meets those of this machine.
    mkdir /mnt/bin
    cp $root/usr/bin/flowml /mnt/bin
    mount -t overlay overlay -o lowerdir=/mnt/bin:/usr/bin /usr/bin
    unit=$root/usr/lib/systemd/system/flowml.service
    systemd-analyze verify --man=no $unit
    systemd-analyze security --offline=true --threshold=20 --no-pager $unit

    echo '# mine' >> $root/etc/flowml/flowml.toml
    chroot $root dpkg --remove flowml
    grep -q mine $root/etc/flowml/flowml.toml
    chroot $root dpkg --purge flowml
    test ! -e $root/etc/flowml -a ! -e $root/usr/bin/flowml -a ! -e $root/usr/share/doc/flowml
"#;

#[test]
fn it_installs_in_a_clean_system_and_is_removed_without_a_trace() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let debian = target().join("debian");
    let there = debian.join("etc/debian_version").is_file();
    let needed = if there { Ok(()) } else { Err(anyhow!("no {}: `cargo xtask setup`", debian.display())) };
    let Some(()) = or_skip(needed) else { return Ok(()) };
    let [_, metered] = lab.link([&lab.host("peer")?, &lab.host("metered")?], &LinkOptions::quiet())?;
    let made = made()?;
    let [debian, package] = [&debian, &made.package].map(|path| path.display().to_string());
    let unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", INSTALL, "sh"];
    let words = [&unshare[..], &[&*debian, &package, &metered.name]].concat();
    let output = metered.host.spawn(words)?.wait(LIMIT)?;
    let message = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}:\n{message}", output.status);
    for expected in [concat!("flowml ", env!("CARGO_PKG_VERSION")), "this host", "Overall exposure level"] {
        ensure!(message.contains(expected), "no {expected:?} in\n{message}");
    }
    Ok(())
}

/// The commands that `flowml help` lists.
fn commands() -> Result<Vec<String>> {
    let agent = binary()?;
    let help = String::from_utf8(run([agent.as_os_str(), "help".as_ref()])?.stdout)?;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    Ok(names.map(str::to_owned).collect())
}

#[test]
fn every_command_has_a_man_page_that_renders() -> Result<()> {
    let made = made()?;
    let commands = commands()?;
    ensure!(commands.iter().any(|name| name == "run"), "no commands: {commands:?}");
    for page in commands.iter().map(|name| format!("flowml-{name}.1")).chain(["flowml.1".to_owned()]) {
        let path = made.pages.join(&page);
        let output = run(["man", "--warnings", "--local-file", &path.display().to_string()])?;
        let (text, warnings) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(warnings.is_empty(), "{page}: {warnings}");
        ensure!(text.contains("NAME") && text.contains("SYNOPSIS"), "{page}:\n{text}");
    }
    Ok(())
}

/// Completes `flowml run --int` as bash would, after loading `$1`.
const COMPLETE: &str = r#"
    source "$1"
    complete -p flowml
    COMP_WORDS=(flowml run --int) COMP_CWORD=2
    _flowml flowml --int run
    echo "${COMPREPLY[@]}"
"#;

#[test]
fn completions_match_the_command_line() -> Result<()> {
    let made = made()?;
    let file = |name: &str| made.pages.join(name);
    let bash = file("flowml.bash").display().to_string();
    run(["bash", "-n", &bash])?;
    let message = String::from_utf8(run(["bash", "--norc", "-c", COMPLETE, "bash", &bash])?.stdout)?;
    ensure!(
        message.contains("_flowml") && message.contains("--interval") && message.contains("--interface"),
        "{message}"
    );
    for (name, begin) in [("_flowml", "#compdef flowml"), ("flowml.fish", "")] {
        let text = fs::read_to_string(file(name))?;
        ensure!(text.starts_with(begin) && text.contains("xdp-mode"), "{name}:\n{text}");
    }
    Ok(())
}

#[test]
fn the_package_is_described_and_contains_the_files_of_the_unit() -> Result<()> {
    let made = made()?;
    let package = made.package.display().to_string();
    let field = |name: &str| Ok::<_, Error>(String::from_utf8(run(["dpkg-deb", "-f", &package, name])?.stdout)?);
    assert_eq!(field("Package")?.trim(), "flowml");
    assert_eq!(field("Version")?.trim(), env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Architecture")?, String::from_utf8(run(["dpkg", "--print-architecture"])?.stdout)?);
    let listed = String::from_utf8(run(["dpkg-deb", "--contents", &package])?.stdout)?;
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/flowml.service"))?;
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).context("ExecStart=")?;
    let paths = start.split(' ').filter(|word| word.starts_with('/'));
    let rest = ["/usr/share/man/man1/flowml-run.1.gz", "/usr/share/bash-completion/completions/flowml"];
    let documents = ["README.md", "docs/GUIDE.md", "docs/REPORT.md", "docs/grafana.json"];
    let documents = documents.map(|name| format!("/usr/share/doc/flowml/{name}"));
    for path in paths
        .chain(rest)
        .chain(documents.iter().map(String::as_str))
        .chain(["/usr/share/doc/flowml/copyright", "/usr/lib/systemd/system/flowml.service"])
    {
        let line = listed.lines().find(|line| line.ends_with(&format!(".{path}")));
        let line = line.with_context(|| format!("no {path} in\n{listed}"))?;
        ensure!(line.contains("root/root"), "{line}");
        assert_eq!(line.starts_with("-rwxr-xr-x"), path == "/usr/bin/flowml", "{line}");
    }
    Ok(())
}
