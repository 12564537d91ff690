//! Copying device memory to the host, in pieces through one small buffer.

use crate::error::RuntimeError;
use crate::gpu::Gpu;

/// Bytes of one piece.
const PIECE: u64 = 8 << 20;

/// A buffer that the host may read, of `bytes` bytes.
pub(crate) fn staging(gpu: &Gpu, bytes: u64) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("read back"),
        size: bytes,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// The bytes of a mapped buffer, given to `use_bytes`; the buffer is unmapped afterwards.
pub(crate) fn with_mapped<T>(
    buffer: &wgpu::Buffer,
    bytes: u64,
    use_bytes: impl FnOnce(&[u8]) -> T,
) -> Result<T, RuntimeError> {
    let view = buffer.slice(..bytes).get_mapped_range().map_err(|why| RuntimeError::Refused {
        during: "reading results".into(),
        why: why.to_string(),
    })?;
    let result = use_bytes(&view);
    drop(view);
    buffer.unmap();
    Ok(result)
}

/// Waits for all work on `buffer` and gives `bytes` bytes from `offset` to `take`, piece by piece.
/// Both are multiples of 4.
pub(crate) fn read_pieces(
    gpu: &Gpu,
    buffer: &wgpu::Buffer,
    offset: u64,
    bytes: u64,
    mut take: impl FnMut(&[u8]),
) -> Result<(), RuntimeError> {
    const DURING: &str = "reading results";
    let staging = staging(gpu, bytes.clamp(4, PIECE));
    let mut done = 0;
    while done < bytes {
        let piece = (bytes - done).min(PIECE);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, offset + done, &staging, 0, piece);
        let submission = gpu.queue.submit([encoder.finish()]);
        // Whether mapping succeeded shows when the range is asked for.
        staging.slice(..piece).map_async(wgpu::MapMode::Read, |_| ());
        gpu.wait(Some(submission), DURING)?;
        with_mapped(&staging, piece, &mut take)?;
        done += piece;
    }
    gpu.faults.check(DURING)
}

/// `words` 32-bit words from byte `offset`.
pub(crate) fn read_words(
    gpu: &Gpu,
    buffer: &wgpu::Buffer,
    offset: u64,
    words: usize,
) -> Result<Vec<u32>, RuntimeError> {
    let mut result = Vec::with_capacity(words);
    read_pieces(gpu, buffer, offset, 4 * words as u64, |bytes| {
        result.extend(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    })?;
    Ok(result)
}
