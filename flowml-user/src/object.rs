//! The kernel object that this build carries.

/// Empty where no kernel object was there when the agent was built; aligned as ELF64 headers and BPF instructions ask.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flowml.o"));

/// The kernel object that `cargo xtask build` made, or none: a plain `cargo build` needs no BPF toolchain.
#[must_use]
pub fn embedded() -> Option<&'static [u8]> {
    (!OBJECT.is_empty()).then_some(OBJECT)
}

#[cfg(test)]
mod tests {
    use super::embedded;

    #[test]
    fn what_is_embedded_is_an_aligned_bpf_object() {
        let Some(object) = embedded() else {
            // `cargo xtask test` builds the object first, so there its absence is a defect of the embedding.
            assert!(std::env::var_os("FLOWML_REQUIRE_LAB").is_none(), "no kernel object was embedded");
            return;
        };
        // ELF64, little endian; e_machine at offset 18 is EM_BPF = 247 (elf(5)).
        assert_eq!(object.as_ptr().align_offset(8), 0);
        assert_eq!(&object[..6], b"\x7fELF\x02\x01");
        assert_eq!(u16::from_le_bytes([object[18], object[19]]), 247);
    }
}
