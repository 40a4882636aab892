//! The kernel object that is embedded in this build.
//!
//! ```
//! if let Some(object) = flowml_user::object::embedded() {
//!     assert!(object.starts_with(b"\x7fELF"));
//! }
//! ```

/// Empty if there was no kernel object when the agent was built. Aligned as ELF64 headers and BPF instructions require.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flowml.o"));

/// The kernel object that `cargo xtask build` made. `None` in a plain `cargo build`, which needs no BPF toolchain.
#[must_use]
pub fn embedded() -> Option<&'static [u8]> {
    (!OBJECT.is_empty()).then_some(OBJECT)
}

#[cfg(test)]
mod tests {
    use super::embedded;

    #[test]
    fn the_embedded_object_is_an_aligned_bpf_object() {
        let Some(object) = embedded() else {
            // `cargo xtask test` builds the object first. If it is missing there, the embedding is defective.
            assert!(std::env::var_os("FLOWML_REQUIRE_LAB").is_none(), "no kernel object was embedded");
            return;
        };
        // ELF64, little endian; e_machine at offset 18 is EM_BPF = 247 (elf(5)).
        assert_eq!(object.as_ptr().align_offset(8), 0);
        assert_eq!(&object[..6], b"\x7fELF\x02\x01");
        assert_eq!(u16::from_le_bytes([object[18], object[19]]), 247);
    }
}
