//! Certificates that a test makes for itself.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority of our own and what it has signed, in PEM.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    /// Of a server on `localhost` and 127.0.0.1.
    pub(crate) server: (String, String),
    pub(crate) client: (String, String),
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
        Self {
            authority,
            server: signed(&["localhost", "127.0.0.1"]),
            client: signed(&["client"]),
        }
    }

    /// Writes what a server reads into `directory`, and says how it is told.
    pub(crate) fn options(&self, directory: &Path) -> Vec<String> {
        let write = |name: &str, pem: &str| {
            let file = directory.join(name);
            std::fs::write(&file, pem).expect("our own directory");
            file.to_string_lossy().into_owned()
        };
        [
            (
                "--tls-ca-cert-file",
                write("authority.pem", &self.authority),
            ),
            ("--tls-cert-file", write("server.pem", &self.server.0)),
            ("--tls-key-file", write("server.key", &self.server.1)),
        ]
        .into_iter()
        .flat_map(|(option, file)| [option.to_owned(), file])
        .collect()
    }
}
