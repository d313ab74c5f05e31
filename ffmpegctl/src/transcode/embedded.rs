use super::inputs::Input;
use crate::{cli::TranscodeArgs, client::Client, error::Error};
pub(super) struct Embedded;
impl Embedded {
    pub(super) async fn start(_args: &TranscodeArgs, _inputs: &[Input], _jobs: u32) -> Result<Self, Error> {
        Err(Error::failed("x"))
    }
    pub(super) fn client(&self) -> Result<Client, Error> {
        Err(Error::failed("x"))
    }
    pub(super) async fn stop(self) {}
}
