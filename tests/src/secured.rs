//! A server that demands TLS, with an authority of its own: certificates for it, for its users, and wrong ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use redress_cli::cluster::Account;
use tempfile::TempDir;

use crate::cluster::{Setup, TestCluster};

/// An authority, and a folder for what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    /// Makes an authority; its certificate lies in `dir/NAME.crt`.
    pub fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        fs::write(dir.join(format!("{name}.crt")), issuer.pem()).expect("written");
        Self {
            issuer,
            dir: dir.to_owned(),
        }
    }

    /// Signs a certificate for a name, valid or long expired; it lies in `dir/FILE.crt` and `dir/FILE.key`.
    pub fn sign(&self, file: &str, name: &str, expired: bool) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        keep(&self.dir, file, &made.pem(), &key);
    }
}

fn keep(dir: &Path, file: &str, certificate: &str, key: &KeyPair) {
    let path = dir.join(format!("{file}.key"));
    fs::write(dir.join(format!("{file}.crt")), certificate).expect("written");
    fs::write(&path, key.serialize_pem()).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
}

/// A server that lets nobody in without TLS, except the superuser through its socket.
pub struct Secured {
    /// The server.
    pub cluster: TestCluster,
    /// What a client has: `ca.crt`, `stranger.crt`, `certain.crt` and `.key` (for the role `certain`), `forged.*` (the
    /// same, signed by `stranger`), `own.crt` (a server's that signed itself), `chain.crt`.
    pub dir: TempDir,
    served: TempDir,
}

impl Secured {
    /// Starts it. `installer` may create roles and owns the database `shop`; `certain` needs a certificate too. `None`,
    /// said loudly, where the server's binaries were built without TLS.
    pub fn start() -> Option<Self> {
        let library = TestCluster::shared().query_text("postgres", "show ssl_library");
        if library.is_empty() {
            let bin = TestCluster::binaries().bin.display();
            eprintln!("NOT TRIED: the server in {bin} was built without TLS");
            return None;
        }
        let dir = TempDir::new().expect("a folder");
        let served = tempfile::Builder::new().prefix("rs-").tempdir_in("/tmp");
        let served = served.expect("a folder");
        let (at, authority) = (served.path(), Authority::new(dir.path(), "ca"));
        let stranger = Authority::new(dir.path(), "stranger");
        for (file, name, expired) in [
            ("server", "localhost", false),
            ("expired", "localhost", true),
            ("certain", "certain", false),
        ] {
            authority.sign(file, name, expired);
        }
        stranger.sign("forged", "certain", false);
        self_signed(dir.path(), "own", "localhost");
        for file in ["server", "expired", "own"] {
            for ending in ["crt", "key"] {
                let name = format!("{file}.{ending}");
                fs::copy(dir.path().join(&name), at.join(&name)).expect("copied");
            }
        }
        fs::copy(dir.path().join("ca.crt"), at.join("ca.crt")).expect("copied");
        fs::write(at.join("hba"), ACCESS).expect("written");
        let account = Account::for_server().expect("an account");
        for one in fs::read_dir(at).expect("a folder") {
            account.own(&one.expect("a file").path()).expect("given");
        }
        account.own(at).expect("the folder is given away");
        let file = |name: &str| at.join(name).display().to_string();
        let cluster = Setup::new()
            .tcp()
            .set("ssl", "on")
            .set("ssl_cert_file", &file("server.crt"))
            .set("ssl_key_file", &file("server.key"))
            .set("ssl_ca_file", &file("ca.crt"))
            .set("hba_file", &file("hba"))
            .set("password_encryption", "scram-sha-256")
            .start();
        cluster.query_text("postgres", ROLES);
        cluster.query_text("postgres", "create database shop owner installer");
        Some(Self {
            cluster,
            dir,
            served,
        })
    }

    /// Shows another certificate from now on: `server`, `expired` or `own`.
    pub fn show(&self, file: &str) {
        let path = |ending: &str| {
            let path = self.served.path().join(format!("{file}.{ending}"));
            path.display().to_string()
        };
        self.cluster.query_text(
            "postgres",
            &format!("alter system set ssl_cert_file = '{}'", path("crt")),
        );
        self.cluster.query_text(
            "postgres",
            &format!("alter system set ssl_key_file = '{}'", path("key")),
        );
        self.cluster.restart();
    }

    /// A file of the client's.
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.cluster.tcp_port().expect("a loopback port")
    }

    /// A URL of a role with its password, for `localhost`, with more parameters.
    pub fn url(&self, role: &str, more: &str) -> String {
        format!(
            "postgres://{role}:{PASSWORD}@localhost:{}/shop?{more}",
            self.port()
        )
    }
}

fn self_signed(dir: &Path, file: &str, name: &str) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    keep(dir, file, &made.pem(), &key);
}

/// The password of every role of [`Secured`].
pub const PASSWORD: &str = "hush-Canary-4711";
const ACCESS: &str = "local all postgres trust
local replication all trust
hostssl all certain 127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostssl all all 127.0.0.1/32 scram-sha-256
";
const ROLES: &str = "
create role installer login createrole password 'hush-Canary-4711';
create role certain login password 'hush-Canary-4711'";
