//! The one TLS provider of the process.

/// Makes ring the process's TLS provider. tonic and reqwest both need one, and with two linked in rustls refuses to
/// choose. To be called first in every `main` and test set-up; later calls do nothing.
pub fn install_provider() {
    // An error means that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
