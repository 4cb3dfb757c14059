//! Whom an https probe trusts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::config::{Model, Probe};

/// The ways to look at a certificate.
pub(super) struct Trust {
    /// Any certificate, whoever signed it and for whatever name.
    anyone: Arc<ClientConfig>,
    /// Those of this machine's authorities.
    known: Arc<ClientConfig>,
    /// Those of a file's authorities, or why the file is of no use.
    by_file: BTreeMap<PathBuf, Result<Arc<ClientConfig>, String>>,
}

impl Trust {
    /// Reads the machine's authorities.
    ///
    /// # Errors
    /// When the crypto library does not offer the versions of TLS.
    pub(super) fn new() -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let builder =
            || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let known = builder()?.with_root_certificates(roots).with_no_client_auth();
        let verifier = Arc::new(Anyone(provider.clone()));
        let anyone = builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok(Self { anyone: Arc::new(anyone), known: Arc::new(known), by_file: BTreeMap::new() })
    }

    /// The same with the authorities that `model` names, as their files have them now.
    pub(super) fn follow(&self, model: &Model) -> Self {
        let probes = model.rules.iter().filter_map(|rule| rule.probe.as_ref());
        let files: BTreeSet<&PathBuf> = probes.filter_map(|probe| probe.ca_file.as_ref()).collect();
        let by_file = files.into_iter().map(|file| (file.clone(), of_file(file))).collect();
        Self { anyone: self.anyone.clone(), known: self.known.clone(), by_file }
    }

    /// How the certificates that `probe` is shown are to be looked at.
    ///
    /// # Errors
    /// Why the file of its authorities is of no use.
    pub(super) fn of(&self, probe: &Probe) -> Result<Arc<ClientConfig>, String> {
        match &probe.ca_file {
            _ if !probe.verify => Ok(self.anyone.clone()),
            None => Ok(self.known.clone()),
            Some(file) => {
                self.by_file.get(file).cloned().unwrap_or_else(|| Err("its ca_file has not been read".into()))
            }
        }
    }
}

/// A few hundred certificates.
const CA_FILE_LEN_MAX: u64 = 1 << 20;

fn of_file(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let what = |why: &dyn fmt::Display| format!("ca_file {}: {why}", file.display());
    // Not a pipe, at which the thread would wait.
    let found = std::fs::metadata(file).map_err(|error| what(&error))?;
    if !found.is_file() || found.len() > CA_FILE_LEN_MAX {
        return Err(what(&"not a file, or longer than 1 MiB"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| what(&error))? {
        let certificate = certificate.map_err(|error| what(&error))?;
        roots.add(certificate).map_err(|error| what(&error))?;
    }
    if roots.is_empty() {
        return Err(what(&"no certificate in it"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| what(&error))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Takes any certificate, as long as whoever shows it has its key. A probe asks whether a server works, sends no secret,
/// and backends have certificates for the frontend's name, or made by themselves.
struct Anyone(Arc<CryptoProvider>);

impl fmt::Debug for Anyone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anyone")
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
