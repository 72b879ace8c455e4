//! Certificates that a test makes for itself.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority of our own and what it has signed, in PEM.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) client: (String, String),
    /// What a server on `localhost` and 127.0.0.1 reads, behind the name of its option.
    files: Vec<(&'static str, String)>,
    _folder: TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Else it has the name of those that it signs, which then seem to have signed themselves.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        let signed = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let params = CertificateParams::new(names).expect("valid names");
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            (certificate.pem(), key.serialize_pem())
        };
        let folder = tempfile::tempdir().expect("a temporary directory");
        let write = |option, name: &str, pem: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, pem).expect("our own directory");
            (option, file.to_string_lossy().into_owned())
        };
        let (certificate, key) = signed(&["localhost", "127.0.0.1"]);
        Self {
            client: signed(&["client"]),
            files: vec![
                write("--tls-ca-cert-file", "authority.pem", &authority),
                write("--tls-cert-file", "server.pem", &certificate),
                write("--tls-key-file", "server.key", &key),
            ],
            authority,
            _folder: folder,
        }
    }

    /// How a server is told of them.
    pub(super) fn options(&self) -> Vec<&str> {
        let options = self.files.iter();
        options.flat_map(|(option, file)| [*option, file]).collect()
    }
}
