//! Finds the modules of a kernel that must be loaded, and their order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Modules that the laboratory and the agent need: links and switches, queueing disciplines and their filters.
pub(super) const WANTED: &[&str] = &["veth", "bridge", "8021q", "sch_ingress", "sch_fq", "cls_bpf", "af_packet"];

/// The files of these modules and of their dependencies, each after its dependencies, as paths in the folder of
/// modules. `dependencies` and `builtin` are the texts of `modules.dep` and `modules.builtin` (modules.dep(5)).
pub(super) fn in_order<'a>(wanted: &[&str], dependencies: &'a str, builtin: &str) -> Result<Vec<&'a Path>> {
    let parse = |line: &'a str| {
        let (module, needed) = line.split_once(':')?;
        // The last dependency is loaded first.
        Some((name(module), needed.split_whitespace().rev().chain([module])))
    };
    let files: HashMap<String, _> = dependencies.lines().filter_map(parse).collect();
    let builtin: Vec<String> = builtin.lines().map(name).collect();
    let mut ordered = Vec::new();
    for module in wanted.iter().map(|module| name(module)).filter(|module| !builtin.contains(module)) {
        let needed = files.get(&module).with_context(|| format!("the kernel has no module {module}"))?;
        for file in needed.clone().map(Path::new) {
            if !ordered.contains(&file) {
                ordered.push(file);
            }
        }
    }
    Ok(ordered)
}

/// The name of a module by its file: without folders and extensions, and with `_` instead of `-`. The kernel does not
/// distinguish them.
fn name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The program that decompresses the file of a module, or none if the file is not compressed.
pub(super) fn decompressor(file: &Path) -> Result<Option<&'static str>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => Ok(None),
        Some("xz") => Ok(Some("xz")),
        _ => anyhow::bail!("{}: expected a module as .ko or .ko.xz", file.display()),
    }
}

/// The path of the decompressed module.
pub(super) fn plain(file: &Path) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "ko") { file.to_owned() } else { file.with_extension("") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz
kernel/net/802/stp.ko.xz: kernel/net/llc/llc.ko.xz
kernel/net/llc/llc.ko.xz:
kernel/drivers/net/veth.ko.xz:
kernel/net/802/garp.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz
kernel/net/8021q/8021q.ko.xz: kernel/net/802/garp.ko.xz kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz
kernel/lib/some-thing.ko:
";

    fn order(wanted: &[&str], builtin: &str) -> Result<Vec<String>> {
        let files = in_order(wanted, DEPENDENCIES, builtin)?;
        Ok(files.iter().map(|file| name(&file.to_string_lossy())).collect())
    }

    #[test]
    fn each_module_comes_once_and_after_its_dependencies() -> Result<()> {
        assert_eq!(order(&["bridge", "veth", "8021q"], "")?, ["llc", "stp", "bridge", "veth", "garp", "8021q"]);
        assert_eq!(order(&["some_thing", "some-thing"], "")?, ["some_thing"]);
        Ok(())
    }

    #[test]
    fn built_in_modules_are_left_out_and_unknown_modules_are_reported() -> Result<()> {
        assert_eq!(order(&["af_packet", "veth"], "kernel/net/packet/af_packet.ko\n")?, ["veth"]);
        let error = order(&["veth", "cls_bpf"], "").expect_err("it is nowhere");
        assert_eq!(error.to_string(), "the kernel has no module cls_bpf");
        Ok(())
    }

    #[test]
    fn modules_are_decompressed_by_their_extension() -> Result<()> {
        let (packed, file) = (Path::new("a/veth.ko.xz"), Path::new("a/veth.ko"));
        assert_eq!((decompressor(packed)?, decompressor(file)?), (Some("xz"), None));
        assert_eq!((plain(packed), plain(file)), (file.to_owned(), file.to_owned()));
        assert!(decompressor(Path::new("a/veth.ko.lzo")).is_err());
        Ok(())
    }
}
