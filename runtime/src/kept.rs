//! Compiled pipelines that outlive the process: bytes that the driver makes and takes again.
//!
//! Nothing here touches files; the caller keeps the bytes. They begin with a hash of the rest, because
//! drivers trust what they are given: bytes that were damaged on the way never reach one.

use crate::gpu::Gpu;
use sha2::{Digest, Sha256};

/// Bytes of the hash.
const HASH: usize = 32;

impl Gpu {
    /// A name for the pipelines that can be kept on this adapter: letters, digits and underscores.
    /// `None` where nothing can be kept, as on Metal, which keeps them itself.
    pub fn pipelines_key(&self) -> Option<String> {
        let possible = self.device.features().contains(wgpu::Features::PIPELINE_CACHE);
        wgpu::util::pipeline_cache_key(&self.adapter.get_info()).filter(|_| possible)
    }

    /// Takes pipelines from `bytes`, which [`kept_pipelines`](Gpu::kept_pipelines) yielded, and keeps
    /// those that are compiled from now on. Damaged bytes, and those of another adapter, driver or
    /// version of Quarrel, count as none.
    #[expect(unsafe_code, reason = "drivers trust what they are given to be what they gave")]
    pub fn keep_pipelines(&mut self, bytes: Option<&[u8]>) {
        if self.pipelines_key().is_none() {
            return;
        }
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: None,
            data: bytes.and_then(undamaged),
            // What is not for this adapter and driver is passed over.
            fallback: true,
        };
        // SAFETY: the data is what wgpu yielded before, byte by byte: `undamaged` compares a hash of
        // all of it, and wgpu the adapter, the driver's version and the length.
        self.kept = Some(unsafe { self.device.create_pipeline_cache(&descriptor) });
    }

    /// The pipelines compiled since [`keep_pipelines`](Gpu::keep_pipelines), and those given to it.
    pub fn kept_pipelines(&self) -> Option<Vec<u8>> {
        let data = self.kept.as_ref()?.get_data()?;
        Some([&hash(&data)[..], &data].concat())
    }
}

fn hash(data: &[u8]) -> [u8; HASH] {
    Sha256::digest(data).into()
}

/// What follows the hash, if it is that of it.
fn undamaged(bytes: &[u8]) -> Option<&[u8]> {
    let (found, data) = bytes.split_at_checked(HASH)?;
    (hash(data)[..] == *found).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_bytes_are_none() {
        let data = [7u8; 100];
        let bytes = [&hash(&data)[..], &data].concat();
        assert_eq!(undamaged(&bytes), Some(&data[..]));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(undamaged(&damaged), None, "byte {at}");
            assert_eq!(undamaged(&bytes[..at]), None, "cut at {at}");
        }
    }
}
