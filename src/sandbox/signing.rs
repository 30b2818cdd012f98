//! The key pair that signs webhook posts: ECDSA P-256 with SHA-256 over timestamp and body, as SendGrid's signed
//! event webhook does.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::MultipartSigner;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};

/// Signs; its public half is for everyone.
pub(super) struct Signer {
    key: SigningKey,
    public_key: String,
}

/// Why there is no key pair.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("webhook key file {path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file holds something else.
    #[error("webhook key file {0}: not a P-256 private key as PKCS#8 in PEM")]
    NotAKey(String),
    /// The key cannot be encoded.
    #[error("the webhook key cannot be encoded")]
    Encoding,
}

impl Signer {
    /// With a new key pair.
    pub(super) fn generate() -> Result<Self, KeyError> {
        Self::new(SigningKey::generate_from_rng(&mut rand::rng()))
    }

    /// With the key pair in `path`, which is made if it is not there: PKCS#8 as PEM, readable by its owner only.
    /// Base64 without the PEM lines is read as well.
    pub(super) fn from_file(path: &Path) -> Result<Self, KeyError> {
        let name = || path.display().to_string();
        let failed = |error| KeyError::File { path: name(), error };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
                let der =
                    STANDARD.decode(lines.collect::<String>()).map_err(|_| KeyError::NotAKey(name()))?;
                Self::new(SigningKey::from_pkcs8_der(&der).map_err(|_| KeyError::NotAKey(name()))?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let signer = Self::generate()?;
                let der = signer.key.to_pkcs8_der().map_err(|_| KeyError::Encoding)?;
                let base64 = STANDARD.encode(der.as_bytes());
                let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
                let text =
                    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
                private_file(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
                Ok(signer)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn new(key: SigningKey) -> Result<Self, KeyError> {
        let der = key.verifying_key().to_public_key_der().map_err(|_| KeyError::Encoding)?;
        Ok(Self { public_key: STANDARD.encode(der.as_bytes()), key })
    }

    /// Base64 of the DER SubjectPublicKeyInfo, as SendGrid shows it.
    pub(super) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Base64 of the DER signature over `timestamp` and `body`.
    pub(super) fn sign(&self, timestamp: &str, body: &[u8]) -> String {
        let signature: DerSignature =
            p256::ecdsa::Signature::from(MultipartSigner::<p256::ecdsa::Signature>::multipart_sign(
                &self.key,
                &[timestamp.as_bytes(), body],
            ))
            .to_der();
        STANDARD.encode(signature.as_bytes())
    }
}

fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
