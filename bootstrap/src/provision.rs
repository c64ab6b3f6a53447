//! The kubelet's credentials: key and request made here, certificate from the service, files where the kubelet looks.

use crate::refusal::Coded;
use crate::status::write_file;
use ccnode_evidence::Code;
use ccnode_protocol::NodeName;
use ccnode_protocol::grants::{Certificate, Cluster};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use std::path::Path;
use zeroize::{Zeroize as _, Zeroizing};

/// Where the files are.
pub const DIR: &str = "/run/ccnode/kubelet";

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Key or request could not be made.
    #[error("certificate request: {0}")]
    Request(#[from] rcgen::Error),
    /// What the service gave is not what a kubeconfig needs.
    #[error("{0}")]
    Reply(&'static str),
    /// A file can't be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Coded for ProvisionError {
    fn code(&self) -> Code {
        match self {
            Self::Reply(_) => Code::ServiceGarbage,
            Self::Request(_) | Self::Write { .. } => Code::NodeInternal,
        }
    }
}

/// The kubelet's key: P-256, made anew at each boot, in memory and in one file of a tmpfs.
pub struct KubeletKey(KeyPair);

impl Drop for KubeletKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl KubeletKey {
    /// A new key.
    pub fn generate() -> Result<Self, ProvisionError> {
        Ok(Self(KeyPair::generate()?))
    }

    /// The request for `name` in DER: CN `system:node:<name>`, O `system:nodes`, no alternative names.
    pub fn request(&self, name: &NodeName) -> Result<Vec<u8>, ProvisionError> {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "system:nodes");
        subject.push(DnType::CommonName, format!("system:node:{name}"));
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        Ok(params.serialize_request(&self.0)?.der().to_vec())
    }
}

/// Writes kubeconfig, certificate with key, and the cluster's CA to `dir`, each for root alone.
pub fn write(
    dir: &Path,
    name: &NodeName,
    key: &KubeletKey,
    certificate: &Certificate,
    cluster: &Cluster,
) -> Result<(), ProvisionError> {
    if !is_certificates(&certificate.chain) {
        return Err(ProvisionError::Reply("the certificate is not PEM"));
    }
    if !is_certificates(&cluster.ca) {
        return Err(ProvisionError::Reply("the cluster's CA is not PEM"));
    }
    let config = kubeconfig(dir, name, &cluster.server)?;
    let pem = Zeroizing::new(key.0.serialize_pem());
    let newline = if certificate.chain.ends_with('\n') { "" } else { "\n" };
    let client = Zeroizing::new([certificate.chain.as_str(), newline, pem.as_str()].concat());
    // The kubelet starts when the kubeconfig is there: it comes last.
    for (file, bytes) in [
        ("ca.pem", cluster.ca.as_bytes()),
        ("client.pem", client.as_bytes()),
        ("kubeconfig", config.as_bytes()),
    ] {
        let path = dir.join(file);
        let fail = |source| ProvisionError::Write { path: path.display().to_string(), source };
        write_file(&path, bytes, 0o600).map_err(fail)?;
    }
    Ok(())
}

/// The kubeconfig; every text from elsewhere is quoted as JSON, which is YAML.
fn kubeconfig(dir: &Path, name: &NodeName, server: &str) -> Result<String, ProvisionError> {
    let sane = server.strip_prefix("https://").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]/".contains(&b))
    });
    if !sane {
        return Err(ProvisionError::Reply("the cluster's server is no https URL"));
    }
    let dir = dir.display();
    Ok(format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: cluster\n\
         \x20 cluster:\n\
         \x20   server: \"{server}\"\n\
         \x20   certificate-authority: {dir}/ca.pem\n\
         users:\n\
         - name: \"system:node:{name}\"\n\
         \x20 user:\n\
         \x20   client-certificate: {dir}/client.pem\n\
         \x20   client-key: {dir}/client.pem\n\
         contexts:\n\
         - name: node\n\
         \x20 context:\n\
         \x20   cluster: cluster\n\
         \x20   user: \"system:node:{name}\"\n\
         current-context: node\n"
    ))
}

/// PEM certificates and nothing that could be taken for a key.
fn is_certificates(text: &str) -> bool {
    let begins = text.matches("-----BEGIN CERTIFICATE-----").count();
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\n' || b == b'\r');
    begins > 0 && text.matches("-----BEGIN ").count() == begins && printable
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn name() -> NodeName {
        "workers-abc".parse().unwrap()
    }

    fn pem() -> String {
        let key = KeyPair::generate().unwrap();
        CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    fn cluster() -> Cluster {
        Cluster { server: "https://10.0.2.101:6443".into(), ca: pem() }
    }

    #[test]
    fn the_request_names_the_node_and_nothing_else() {
        let der = KubeletKey::generate().unwrap().request(&name()).unwrap();
        let has = |text: &[u8]| der.windows(text.len()).any(|w| w == text);
        assert!(has(b"system:node:workers-abc") && has(b"system:nodes"));
        // extensionRequest, 1.2.840.113549.1.9.14
        assert!(!has(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e]));
    }

    #[test]
    fn t21_files_are_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let key = KubeletKey::generate().unwrap();
        let certificate = Certificate { chain: pem() };
        write(dir.path(), &name(), &key, &certificate, &cluster()).unwrap();
        for file in ["kubeconfig", "client.pem", "ca.pem"] {
            let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let client = std::fs::read_to_string(dir.path().join("client.pem")).unwrap();
        assert!(client.contains("BEGIN CERTIFICATE") && client.contains("BEGIN PRIVATE KEY"));
        let config = std::fs::read_to_string(dir.path().join("kubeconfig")).unwrap();
        assert!(config.contains("    server: \"https://10.0.2.101:6443\"\n"), "{config}");
        assert!(config.contains("- name: \"system:node:workers-abc\"\n"), "{config}");
    }

    #[test]
    fn what_could_be_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = KubeletKey::generate().unwrap();
        let with = |chain: &str, server: &str, ca: &str| {
            let cluster = Cluster { server: server.into(), ca: ca.into() };
            write(dir.path(), &name(), &key, &Certificate { chain: chain.into() }, &cluster)
                .unwrap_err()
                .code()
        };
        let good = pem();
        assert_eq!(with("", "https://a", &good), Code::ServiceGarbage);
        assert_eq!(with(&good, "https://a", ""), Code::ServiceGarbage);
        assert_eq!(with(&good, "http://a", &good), Code::ServiceGarbage);
        assert_eq!(with(&good, "https://a\"\nusers: []", &good), Code::ServiceGarbage);
        let key_too = format!("{good}-----BEGIN PRIVATE KEY-----\n");
        assert_eq!(with(&key_too, "https://a", &good), Code::ServiceGarbage);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
