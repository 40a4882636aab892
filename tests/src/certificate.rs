//! Certificates of servers in the laboratory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::lab::Host;

/// Makes a certificate for 127.0.0.1 and `localhost` with its key, in one file of this name. Needs openssl.
pub fn certificate(host: &Host, folder: &Path, name: &str) -> Result<PathBuf> {
    let [configuration, key, certificate] = ["openssl.cnf", "key.pem", name].map(|name| folder.join(name));
    let text = format!(
        "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = {name}\n\
                [more]\nsubjectAltName = IP:127.0.0.1,DNS:localhost\nbasicConstraints = critical,CA:FALSE\n"
    );
    fs::write(&configuration, text)?;
    let curve = "ec_paramgen_curve:P-256";
    let made = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", curve, "-days", "2"];
    let [configuration, key_file, file] = [&configuration, &key, &certificate].map(|path| path.display().to_string());
    let files = ["-config", &configuration, "-keyout", &key_file, "-out", &file];
    host.run_ok([&made[..], &files[..]].concat())?;
    let both = fs::read_to_string(&key)? + &fs::read_to_string(&certificate)?;
    fs::write(&certificate, both)?;
    Ok(certificate)
}
