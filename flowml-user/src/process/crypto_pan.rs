//! Crypto-PAn: replaces addresses by pseudonyms that keep common prefixes (Xu, Fan, Ammar and Moon, 2002).
//!
//! Two addresses whose first n bits are equal have pseudonyms whose first n bits are equal, and nothing else about the
//! addresses is kept. Who has the key can compute the pseudonym of every address.

use std::net::IpAddr;
use std::str::FromStr;

use aes::cipher::{Block, BlockEncrypt, KeyInit};
use aes::{Aes128, Block as AesBlock};

/// Length of a key, bytes: that of AES, and that of the block that becomes the padding.
const KEY: usize = 32;

/// The function of one key.
#[derive(Clone)]
pub struct CryptoPan {
    cipher: Aes128,
    padding: u128,
}

/// The text is no key. It may be a secret, so it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a key of {} hexadecimal digits, as 'openssl rand -hex {KEY}' makes it", 2 * KEY)]
pub struct InvalidKey;

impl FromStr for CryptoPan {
    type Err = InvalidKey;

    /// Reads a key of hexadecimal digits. White space around it does not belong to it.
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * KEY || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(InvalidKey);
        }
        let mut key = [0; KEY];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| InvalidKey)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidKey)?;
        }
        Ok(Self::new(key))
    }
}

impl CryptoPan {
    /// The function of this key.
    #[must_use]
    pub fn new(key: [u8; KEY]) -> Self {
        let (of_cipher, of_padding) = key.split_at(KEY / 2);
        let cipher = Aes128::new(AesBlock::from_slice(of_cipher));
        let mut padding = *AesBlock::from_slice(of_padding);
        cipher.encrypt_block(&mut padding);
        Self { cipher, padding: u128::from_be_bytes(padding.into()) }
    }

    /// The pseudonym of an address, of the same version of IP.
    #[must_use]
    pub fn pseudonym(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let bits = u128::from(address.to_bits()) << 96;
                IpAddr::V4(((self.replaced::<32>(bits) >> 96) as u32).into())
            }
            IpAddr::V6(address) => IpAddr::V6(self.replaced::<128>(address.to_bits()).into()),
        }
    }

    /// Replaces the first `LENGTH` bits. Each bit is changed as a function of those before it.
    fn replaced<const LENGTH: usize>(&self, address: u128) -> u128 {
        let mut blocks: [Block<Aes128>; LENGTH] = std::array::from_fn(|place| {
            let before = u128::MAX.checked_shl(128 - place as u32).unwrap_or(0);
            (address & before | self.padding & !before).to_be_bytes().into()
        });
        self.cipher.encrypt_blocks(&mut blocks);
        let changes = blocks.iter().enumerate().map(|(place, block)| u128::from(block[0] >> 7) << (127 - place));
        address ^ changes.fold(0, |all, change| all | change)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The key of the sample in the authors' program.
    const SAMPLE: [u8; KEY] = [
        21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131, 121, 121, 101, 39,
        98, 87, 76, 45, 42, 132, 34, 2,
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn pseudonyms_are_those_of_other_programs() {
        let of_sample = CryptoPan::new(SAMPLE);
        for (real, pseudonym) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("130.132.252.244", "133.68.164.234"),
            ("141.223.7.43", "141.167.8.160"),
            ("24.5.0.80", "100.9.15.210"),
            ("38.15.67.68", "64.3.66.187"),
            // The authors' program has no IPv6. These are the results of the Python package yacryptopan 1.0.2.
            ("2001:db8::1", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e"),
            ("::1", "78ff:f001:9fc0:20df:8380:b1f1:704:ed"),
            ("fe80::1234:5678", "cf7f:c0e:1fc3:da1c:70:b18e:edca:b97c"),
        ] {
            assert_eq!(of_sample.pseudonym(address(real)), address(pseudonym), "{real}");
        }
    }

    #[test]
    fn a_key_has_sixty_four_hexadecimal_digits() {
        let text: String = SAMPLE.iter().map(|byte| format!("{byte:02x}")).collect();
        for text in [format!(" {text}\n"), text.to_uppercase()] {
            let read: CryptoPan = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read.pseudonym(address("128.11.68.132")), address("135.242.180.132"));
        }
        for wrong in ["", "secret", &text[1..], &format!("{text}0"), &text.replace('1', "g"), &"é".repeat(32)] {
            let error = wrong.parse::<CryptoPan>().err().expect("no key");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn pseudonyms_share_exactly_the_prefix_that_addresses_share(key: [u8; KEY], one: u128, length in 0_u32..=128, rest: u128) {
            let pan = CryptoPan::new(key);
            // The other address differs from the first one in the bit after the prefix.
            let tail = u128::MAX.checked_shr(length).unwrap_or(0);
            let differs = (1_u128 << 127).checked_shr(length).unwrap_or(0);
            let other = one & !tail | (!one & differs) | (rest & tail & !differs);
            let shared = |one: u128, other: u128| (one ^ other).leading_zeros();
            prop_assert_eq!(shared(one, other), length);
            let bits = |address: u128| match pan.pseudonym(IpAddr::V6(address.into())) {
                IpAddr::V6(address) => address.to_bits(),
                IpAddr::V4(_) => 0,
            };
            prop_assert_eq!(shared(bits(one), bits(other)), length);
            let of_v4 = |address: u128| match pan.pseudonym(IpAddr::V4(((address >> 96) as u32).into())) {
                IpAddr::V4(address) => address.to_bits(),
                IpAddr::V6(_) => 0,
            };
            prop_assert_eq!((of_v4(one) ^ of_v4(other)).leading_zeros(), length.min(32));
        }
    }
}
