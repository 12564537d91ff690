//! stub
use crate::error::Result;
/// stub
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}
pub(crate) fn execute(_args: &Args) -> Result<()> {
    Ok(())
}
