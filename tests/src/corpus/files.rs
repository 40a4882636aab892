//! Files of the corpus's servers and clients: objects to fetch, temporary keys and accounts, passwords to try.

use std::fs::{self, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::distributions::Alphanumeric;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use tempfile::TempDir;

use super::part::Equipment;

/// Objects of the web servers: their number, and their smallest and largest length in bytes.
const OBJECTS: usize = 40;
const LENGTHS: (f64, f64) = (300.0, 400_000.0);

/// Length of a stream or download at a limited rate, in bytes.
const LONG: u64 = 64 << 20;

/// The only account of the site. It exists only for its SSH server, and has no password.
pub(super) const ACCOUNT: &str = "town";

/// The user id and group id of the account. No account of Debian has this id.
const ACCOUNT_ID: u32 = 65533;

/// A folder that is removed with its guard.
#[derive(Debug)]
pub(super) struct Files {
    folder: TempDir,
    /// Lengths of the objects in bytes, in ascending order.
    objects: Vec<u32>,
    /// The password of the FTP server.
    pub(super) password: String,
}

impl Files {
    pub(super) fn make(random: &mut Xoshiro256PlusPlus, equipment: Equipment) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("flowml-corpus-").tempdir().context("making a folder")?;
        // The server's account must be able to read its key here.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let (least, most) = LENGTHS;
        let mut objects: Vec<u32> =
            (0..OBJECTS).map(|_| (least * (most / least).powf(random.r#gen::<f64>())) as u32).collect();
        objects.sort_unstable();
        let files = Self { folder, objects, password: word(random, 12) };
        if equipment == Equipment::Corpus {
            files.offer()?;
            files.make_keys()?;
            files.make_account()?;
        }
        Ok(files)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path for a command line or a configuration.
    pub(super) fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// The path, below the root of a web server, of the object whose length is nearest to `length`.
    pub(super) fn object(&self, length: u32) -> String {
        let at = self.objects.partition_point(|&object| object < length).min(OBJECTS - 1);
        format!("objects/{at}")
    }

    /// Writes words that are no valid passwords, one on a line. Returns the path.
    pub(super) fn write_passwords(&self, random: &mut Xoshiro256PlusPlus, count: u32) -> Result<String> {
        let words: Vec<String> = (0..count).map(|_| word(random, 8)).collect();
        self.write("passwords", &(words.join("\n") + "\n"))?;
        Ok(self.name("passwords"))
    }

    fn offer(&self) -> Result<()> {
        let root = self.path("www");
        fs::create_dir_all(root.join("objects"))?;
        for (n, &length) in self.objects.iter().enumerate() {
            sparse(&root.join(format!("objects/{n}")), u64::from(length))?;
        }
        sparse(&root.join("long"), LONG)?;
        fs::create_dir_all(self.path("ftp"))?;
        fs::copy(root.join("objects/30"), self.path("ftp/report"))?;
        Ok(())
    }

    fn make_keys(&self) -> Result<()> {
        for key in ["host_key", "client_key"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "laboratory", "-f"])
                .arg(self.path(key)))?;
        }
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-subj", "/CN=www.town.example", "-days", "30", "-keyout"]);
        run(openssl.arg(self.path("tls_key")).arg("-out").arg(self.path("tls_certificate")))
    }

    /// Writes the account files that the SSH server sees instead of the machine's.
    fn make_account(&self) -> Result<()> {
        let home = self.folder.path().display();
        self.write(
            "passwd",
            &format!(
                "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n\
             {ACCOUNT}:x:{ACCOUNT_ID}:{ACCOUNT_ID}::{home}:/bin/sh\n"
            ),
        )?;
        let shadow = self.write("shadow", &format!("root:*:1::::::\nsshd:*:1::::::\n{ACCOUNT}:*:1::::::\n"))?;
        fs::set_permissions(shadow, Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Writes the configuration of a web server that listens on all addresses of a host. Each server has its own file
    /// for the process id, which nginx removes at its end.
    pub(super) fn web_configuration(&self, host: &str) -> Result<PathBuf> {
        let folder = self.folder.path().display();
        self.write(
            &format!("{host}.conf"),
            &format!(
                "daemon off; master_process off; pid {folder}/{host}.pid; error_log stderr crit;\n\
             events {{ worker_connections 2048; }}\n\
             http {{\n  access_log off; default_type text/html; server_tokens off; keepalive_requests 100;\n  \
             client_max_body_size 16m;\n  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n  \
             fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n  \
             server {{\n    listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;\n    \
             ssl_certificate {folder}/tls_certificate; ssl_certificate_key {folder}/tls_key;\n    \
             root {folder}/www;\n    \
             location = /form {{ return 204; }}\n    location = /health {{ return 200 ok; }}\n  }}\n}}\n"
            ),
        )
    }

    /// Writes the configuration of an SSH server that accepts one key. It allows many attempts: hydra hangs if the
    /// server closes a connection after a few.
    pub(super) fn ssh_configuration(&self) -> Result<PathBuf> {
        let folder = self.folder.path().display();
        self.write(
            "sshd_config",
            &format!(
                "Port 22\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/client_key.pub\nStrictModes no\n\
             PidFile none\nUsePAM no\nPermitRootLogin no\nAllowUsers {ACCOUNT}\nMaxStartups 200\nMaxAuthTries 100\nUseDNS no\n\
             LogLevel ERROR\nSubsystem sftp internal-sftp\n"
            ),
        )
    }

    /// Arguments of `ssh` and `sftp`: only the server's one key, and no configuration of this machine.
    pub(super) fn ssh_options(&self) -> String {
        format!(
            "-F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile={} -o LogLevel=ERROR -o ConnectTimeout=10",
            self.name("client_key"),
            self.name("known_hosts")
        )
    }
}

/// An address in the form of a URL.
pub(super) fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn word(random: &mut Xoshiro256PlusPlus, length: usize) -> String {
    (0..length).map(|_| char::from(random.sample(Alphanumeric))).collect()
}

/// A few words that are typed in a terminal.
pub(super) fn command_line(random: &mut Xoshiro256PlusPlus) -> &'static str {
    const LINES: &[&str] =
        &["ls -l /etc", "date", "df -h", "cat /etc/services", "uptime", "id", "ls -l /usr/bin | tail -40", "ps x"];
    LINES.choose(random).copied().unwrap_or("id")
}

/// Makes a sparse file of zeros.
fn sparse(path: &Path, length: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    file.set_len(length).with_context(|| format!("making {} {length} bytes long", path.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({}): {}", output.status, message.trim());
    Ok(())
}
