//! The links of this process that are still attached.
//!
//! The kernel shows the state of a link to its holder, but reports nothing when another program detaches it.

use std::collections::HashMap;
use std::{fs, io};

/// The information on open descriptors (proc_pid_fdinfo(5)).
const DESCRIPTORS: &str = "/proc/self/fdinfo";

/// Number of attached links by interface index.
///
/// # Errors
/// If /proc cannot be read.
pub(crate) fn attached_links() -> io::Result<HashMap<u32, usize>> {
    let mut links = HashMap::new();
    for file in fs::read_dir(DESCRIPTORS)? {
        // The descriptor was closed in the meantime.
        let Ok(shown) = fs::read_to_string(file?.path()) else { continue };
        if let Some(index) = index(&shown) {
            *links.entry(index).or_default() += 1;
        }
    }
    Ok(links)
}

/// The interface index of a link (`bpf_xdp_link_show_fdinfo`, `tcx_link_fdinfo`). It is 0 if the link is no longer
/// attached.
fn index(shown: &str) -> Option<u32> {
    let field = |name| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    field("link_type")?;
    field("ifindex")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_distinguished_from_other_descriptors() {
        let link = "pos:\t0\nflags:\t02000000\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\ta\nprog_id:\t9\nifindex:\t12\n";
        assert_eq!(index(link), Some(12));
        assert_eq!(index("pos:\t0\nflags:\t02\n"), None);
        assert_eq!(index("pos:\t0\niff:\ttun0\nifindex:\t3\n"), None);
        assert!(attached_links().is_ok_and(|links| links.is_empty()), "a test holds no link");
    }
}
