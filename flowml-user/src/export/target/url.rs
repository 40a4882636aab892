//! The URL of an HTTP receiver. Its user information, path and query may be secrets, so they are not shown.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A URL with the scheme `http` or `https`.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    /// The text before `@`, percent-encoded.
    user: Option<String>,
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    host: String,
    port: u16,
    /// The path and the query, with the first `/`.
    path: String,
}

impl Url {
    /// Whether the connection is encrypted.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host and the port, to resolve and to connect to.
    #[must_use]
    pub fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The user name and the password, as in the header `Authorization` before encoding (RFC 7617). A colon follows the
    /// user name also without a password.
    #[must_use]
    pub fn user(&self) -> Option<Vec<u8>> {
        let mut user = self.user.as_deref().map(decoded)?;
        if !user.contains(&b':') {
            user.push(b':');
        }
        Some(user)
    }

    /// The URL without user information, with `suffix` after its path. It may contain secrets.
    #[must_use]
    pub fn request(&self, suffix: &str) -> String {
        let path = if suffix.is_empty() { &self.path } else { self.path.trim_end_matches('/') };
        format!("{}{path}{suffix}", self.origin())
    }

    /// Whether it has a query.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.path.contains('?')
    }

    fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.secure) {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())?;
        f.write_str(if self.path == "/" { "" } else { "/…" })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not such a URL. It may contain secrets, so it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected http://HOST[:PORT][/PATH] or https://…, with special characters percent-encoded and without a fragment"
)]
pub struct InvalidUrl;

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let schemes = [("http://", false), ("https://", true)];
        let found = schemes.iter().find_map(|(name, secure)| Some((*secure, text.strip_prefix(name)?)));
        let (secure, rest) = found.ok_or(InvalidUrl)?;
        // Nothing that RFC 3986 requires to be encoded, and no fragment, which is never sent.
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte)) {
            return Err(InvalidUrl);
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, authority),
        };
        let (host, port) = host_and_port(place)?;
        Ok(Self { secure, user, host, port: port.unwrap_or(default_port(secure)), path })
    }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn host_and_port(place: &str) -> Result<(String, Option<u16>), InvalidUrl> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']').ok_or(InvalidUrl)?;
            (address.parse::<Ipv6Addr>().map_err(|_| InvalidUrl)?.to_string(), rest)
        }
        None => {
            let (host, rest) = place.split_at(place.find(':').unwrap_or(place.len()));
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if host.is_empty() || !host.chars().all(is_name) {
                return Err(InvalidUrl);
            }
            (host.to_owned(), rest)
        }
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0).ok_or(InvalidUrl)?),
        None if rest.is_empty() => None,
        None => return Err(InvalidUrl),
    };
    Ok((host, port))
}

/// The bytes that a percent-encoded text means. A `%` without two hexadecimal digits means itself.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_a_host_and_perhaps_more() {
        let cases = [
            ("http://alerts", "http://alerts/", ("alerts", 80)),
            (
                "https://hooks.example:8443/services/T0/B0",
                "https://hooks.example:8443/services/T0/B0",
                ("hooks.example", 8443),
            ),
            ("http://[2001:DB8::1]:80?a=b", "http://[2001:db8::1]/?a=b", ("2001:db8::1", 80)),
            ("https://me:a%40b@10.0.0.1/x", "https://10.0.0.1/x", ("10.0.0.1", 443)),
        ];
        for (text, request, place) in cases {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.request("").as_str(), url.place()), (request, place), "{text}");
        }
        let url: Url = "http://me:a%40b%@alerts/prefix/".parse().expect("a URL");
        assert_eq!(url.user().as_deref(), Some(&b"me:a@b%"[..]));
        let with_token: Url = "https://token@alerts".parse().expect("a URL");
        assert_eq!(with_token.user().as_deref(), Some(&b"token:"[..]));
        assert_eq!(url.request("/api/v2/alerts"), "http://alerts/prefix/api/v2/alerts");
    }

    #[test]
    fn what_is_shown_of_a_url_contains_no_secret() {
        for (text, shown) in [
            ("https://me:secret@hooks.example/", "https://hooks.example"),
            ("https://hooks.example/services/secret", "https://hooks.example/…"),
            ("http://hooks.example:8080?token=secret", "http://hooks.example:8080/…"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn a_text_that_is_no_url_is_refused() {
        for text in [
            "",
            "alerts",
            "ftp://alerts",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:65536",
            "http://a:b",
            "http://[a]",
            "http://[::1",
            "http://[::1]x",
            "http://::1",
            "http://a b",
            "http://a/ü",
            "http://a/#b",
            "http://a/{b}",
            "http://a,b",
        ] {
            assert_eq!(text.parse::<Url>(), Err(InvalidUrl), "{text}");
        }
    }
}
