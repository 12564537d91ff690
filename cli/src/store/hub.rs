//! Fetching a file from the Hugging Face hub.

use super::pull::{Fetch, SourceError};
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::{HFClient, HFClientSync, HFError};
use std::path::PathBuf;
use std::time::Duration;

/// How long the hub may take to accept a connection: a machine without a way to it goes on to the
/// next source after this.
const CONNECT: Duration = Duration::from_secs(3);
/// How long it may take between two pieces of an answer.
const ANSWER: Duration = Duration::from_secs(8);

/// Fetches `file` of a repository into the temporary folder.
pub(super) fn fetch(
    fetch: &Fetch<'_>,
    owner: &str,
    repository: &str,
    file: &str,
) -> Result<PathBuf, SourceError> {
    fetch.progress.start("connecting", fetch.model.bytes);
    client(fetch.hub)?
        .model(owner, repository)
        .download_file()
        .filename(file)
        .local_dir(fetch.folder.join("hub"))
        .progress(Shown(fetch.progress.clone()))
        .send()
        .map_err(explain)
}

fn client(endpoint: Option<&str>) -> Result<HFClientSync, SourceError> {
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER)
        .user_agent(concat!("quarrel/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|why| SourceError::Other(why.to_string()))?;
    let mut builder = HFClient::builder().client(http).cache_enabled(false).retry_max_attempts(0);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint(endpoint);
    }
    builder.build_sync().map_err(explain)
}

/// Sorts errors into those that every repository of the hub would meet and others.
fn explain(why: HFError) -> SourceError {
    match &why {
        HFError::Request { source, .. } if source.is_connect() || source.is_timeout() => {
            SourceError::Unreachable("it cannot be reached".into())
        }
        _ => SourceError::Other(why.to_string()),
    }
}

/// Passes the hub's own progress on.
struct Shown(super::Progress);

impl ProgressHandler for Shown {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        match event {
            DownloadEvent::Start { total_bytes, .. } => self.0.start("downloading", *total_bytes),
            DownloadEvent::Progress { files } => {
                files.iter().for_each(|file| self.0.at(file.bytes_completed));
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => self.0.at(*bytes_completed),
            DownloadEvent::Complete => {}
        }
    }
}
