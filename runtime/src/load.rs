//! The load program: tensors from a weights file to packed planes in device memory.
//!
//! Host memory stays small. Blocks are packed in pieces of a few megabytes, at most two pieces are
//! under way to the device at once, and a tensor's pages are released as soon as it is there.

use crate::error::RuntimeError;
use crate::gpu::Gpu;
use quarrel_ir::format::Format;
use quarrel_ir::packing::{Interleaving, Packing, pack_plane};
use quarrel_ir::plan::{BufferRange, LoadTensor, Plan};
use quarrel_ir::weight::WeightSource;
use rayon::prelude::*;

/// Bytes packed before they are sent.
const PIECE: usize = 4 << 20;
/// Blocks that one task packs.
const TASK_BLOCKS: usize = 1024;

/// Runs the load program of `plan` into `buffers`; `progress` is told the bytes read and to read.
pub(crate) fn load(
    gpu: &Gpu,
    plan: &Plan,
    buffers: &[wgpu::Buffer],
    weights: &dyn WeightSource,
    progress: &dyn Fn(u64, u64),
) -> Result<(), RuntimeError> {
    let mut total = 0;
    for tensor in &plan.load {
        total += check(tensor, weights)?;
    }
    let mut done = 0;
    let mut upload = Upload { gpu, buffers, under_way: None, since_submit: 0 };
    progress(0, total);
    for tensor in &plan.load {
        let mut planes = Planes::new(tensor, 0);
        for source in &tensor.sources {
            let format = format_of(source, weights)?;
            let bytes = weights.bytes(source)?;
            let mut rest = &*bytes;
            while !rest.is_empty() {
                if planes.left == 0 {
                    planes.flush(&mut upload, true)?;
                    planes = Planes::new(tensor, planes.part + 1);
                }
                let next = planes.next_bytes(format).min(rest.len());
                if next == 0 {
                    return Err(cut_block(tensor, format));
                }
                let piece;
                (piece, rest) = rest.split_at(next);
                planes.append(format, piece);
                planes.flush(&mut upload, false)?;
                done += piece.len() as u64;
                progress(done, total);
            }
            weights.release(source);
        }
        planes.flush(&mut upload, true)?;
    }
    upload.submit()?;
    gpu.wait(None, "loading weights")
}

/// Bytes of `format` that are packed at once: whole blocks.
fn piece_bytes(format: Format) -> usize {
    PIECE / format.block_bytes() * format.block_bytes()
}

fn format_of(source: &str, weights: &dyn WeightSource) -> Result<Format, RuntimeError> {
    let info = weights.info(source);
    let missing = || quarrel_ir::weight::WeightError::Missing(source.to_owned());
    Ok(info.ok_or_else(missing)?.format)
}

fn refused(tensor: &LoadTensor, why: String) -> RuntimeError {
    RuntimeError::Tensor { tensor: tensor.sources.join(" + "), why }
}

fn cut_block(tensor: &LoadTensor, format: Format) -> RuntimeError {
    refused(tensor, format!("its parts are not whole blocks of {format}"))
}

/// Compares what the plan expects of a tensor's sources with what there is; their bytes together.
fn check(tensor: &LoadTensor, weights: &dyn WeightSource) -> Result<u64, RuntimeError> {
    let wrong = |why| refused(tensor, why);
    let (mut elements, mut bytes) = (0u64, 0u64);
    for source in &tensor.sources {
        let format = format_of(source, weights)?;
        let info = weights.info(source).map_or(0, |info| info.elements());
        let size = format
            .row_bytes(info)
            .ok_or_else(|| wrong(format!("{info} elements are not whole blocks of {format}")))?;
        if format != tensor.format && !tensor.format.is_float() {
            let wanted = tensor.format;
            return Err(wrong(format!("it is {format}, and nothing is converted to {wanted}")));
        }
        let part = tensor.part_rows.saturating_mul(tensor.row_len);
        if tensor.part_rows < tensor.rows && !part.is_multiple_of(format.block_len() as u64) {
            return Err(cut_block(tensor, format));
        }
        elements += info;
        bytes += size;
    }
    let (rows, row_len) = (tensor.rows, tensor.row_len);
    if rows.checked_mul(row_len) != Some(elements) {
        return Err(wrong(format!("{rows} × {row_len} elements expected, found {elements}")));
    }
    if tensor.columns != row_len && (!tensor.format.is_float() || tensor.columns < row_len) {
        return Err(wrong(format!("its rows have {row_len} elements, not {}", tensor.columns)));
    }
    check_planes(tensor).map_err(wrong)?;
    Ok(bytes)
}

/// Whether the parts are whole chunks and their planes have room.
fn check_planes(tensor: &LoadTensor) -> Result<(), String> {
    let count = tensor.format.packing().planes.len();
    let parts = if tensor.part_rows == 0 { 0 } else { tensor.rows.div_ceil(tensor.part_rows) };
    if parts == 0 || tensor.planes.len() as u64 != parts.saturating_mul(count as u64) {
        return Err("the plan has the wrong number of planes".into());
    }
    if tensor.interleaved != 1 {
        let whole = |rows: u64| tensor.interleaved > 1 && rows.is_multiple_of(tensor.interleaved);
        if !whole(tensor.rows) || !whole(tensor.part_rows) || tensor.interleaving().is_none() {
            return Err(format!("{} of its rows cannot be interleaved", tensor.interleaved));
        }
    }
    for (part, planes) in (0..).zip(tensor.planes.chunks(count)) {
        let elements = part_rows(tensor, part).saturating_mul(tensor.columns);
        for (index, range) in planes.iter().enumerate() {
            let needs = plane_bytes(tensor.format, index, elements);
            if needs > range.bytes {
                return Err(format!("plane {index} needs {needs} bytes, has {}", range.bytes));
            }
        }
    }
    Ok(())
}

/// Rows of part `part` of a tensor, 0 past its end.
fn part_rows(tensor: &LoadTensor, part: u64) -> u64 {
    let before = tensor.part_rows.saturating_mul(part);
    tensor.rows.saturating_sub(before).min(tensor.part_rows)
}

/// Bytes of data in a plane, without padding.
fn plane_bytes(format: Format, plane: usize, elements: u64) -> u64 {
    if format.is_float() {
        return elements.saturating_mul(format.block_bytes() as u64);
    }
    let block_bytes = format.packing().block_bytes(format, plane) as u64;
    (elements / format.block_len() as u64).saturating_mul(block_bytes)
}

/// The planes of one part of a tensor as they fill.
struct Planes<'a> {
    format: Format,
    /// Which part.
    part: u64,
    /// Elements that are still to come.
    left: u64,
    /// Elements of a row in the sources.
    row_len: u64,
    /// Bytes of zeros after each row.
    gap: usize,
    ranges: &'a [BufferRange],
    /// How rows are interleaved when they are sent.
    interleaving: Option<Interleaving>,
    /// Packed bytes of each plane that are not sent yet.
    waiting: Vec<Vec<u8>>,
    /// Bytes of each plane that are sent.
    sent: Vec<u64>,
}

impl<'a> Planes<'a> {
    /// The planes of part `part`, which the tensor has.
    fn new(tensor: &'a LoadTensor, part: u64) -> Planes<'a> {
        let count = tensor.format.packing().planes.len();
        Planes {
            format: tensor.format,
            part,
            left: part_rows(tensor, part) * tensor.row_len,
            row_len: tensor.row_len,
            gap: (tensor.columns - tensor.row_len) as usize * tensor.format.block_bytes(),
            ranges: tensor.planes.chunks(count).nth(part as usize).unwrap_or_default(),
            interleaving: tensor.interleaving(),
            waiting: vec![Vec::new(); count],
            sent: vec![0; count],
        }
    }

    /// Bytes of `format` that are packed at once: whole blocks, no more than the part takes.
    fn next_bytes(&self, format: Format) -> usize {
        let left = self.left / format.block_len() as u64 * format.block_bytes() as u64;
        piece_bytes(format).min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Adds whole blocks of `format`, expanded where the planes' own format is another.
    fn append(&mut self, format: Format, blocks: &[u8]) {
        if self.gap > 0 {
            return self.append_rows(format, blocks);
        }
        self.left -= (blocks.len() / format.block_bytes() * format.block_len()) as u64;
        for (plane, waiting) in self.waiting.iter_mut().enumerate() {
            if self.format.is_float() {
                if format == self.format {
                    waiting.extend_from_slice(blocks);
                } else {
                    expand(format, self.format, blocks, waiting);
                }
            } else {
                pack(format, plane, blocks, waiting);
            }
        }
    }

    /// Adds whole blocks of `format` to the only plane of a float format, with zeros after each row.
    fn append_rows(&mut self, format: Format, blocks: &[u8]) {
        let mut values = Vec::new();
        expand(format, self.format, blocks, &mut values);
        let width = self.format.block_bytes();
        let mut rest = &values[..];
        while !rest.is_empty() {
            // Rows are whole in a part.
            let of_row = (self.left - 1) % self.row_len + 1;
            let (piece, after) = rest.split_at(rest.len().min(of_row as usize * width));
            rest = after;
            self.left -= (piece.len() / width) as u64;
            for waiting in &mut self.waiting {
                waiting.extend_from_slice(piece);
                if self.left.is_multiple_of(self.row_len) {
                    waiting.resize(waiting.len() + self.gap, 0);
                }
            }
        }
    }

    /// Sends what is waiting, up to the last multiple of 16 bytes and of rows that are interleaved; all
    /// of it, padded with zeros, if this is the `last` time.
    fn flush(&mut self, upload: &mut Upload<'_>, last: bool) -> Result<(), RuntimeError> {
        let packing = self.format.packing();
        let planes = self.waiting.iter_mut().zip(&mut self.sent).zip(self.ranges);
        for (plane, ((waiting, sent), range)) in planes.enumerate() {
            // A run of rows that are interleaved is a multiple of 4 bytes, as what is written must be.
            let step = self.interleaving.map_or(16, |rows| rows.bytes(packing, plane));
            let whole = waiting.len() / step * step;
            if let Some(rows) = self.interleaving {
                interleave(rows, packing, plane, &mut waiting[..whole]);
            }
            if last {
                let room = (range.bytes - *sent).min(waiting.len().next_multiple_of(16) as u64);
                waiting.resize((room as usize).max(waiting.len()).next_multiple_of(4), 0);
            }
            let ready = if last { waiting.len() } else { whole };
            for piece in waiting[..ready].chunks(PIECE) {
                upload.write(range, *sent, piece)?;
                *sent += piece.len() as u64;
            }
            waiting.drain(..ready);
        }
        Ok(())
    }
}

/// Interleaves whole runs of rows of a plane.
fn interleave(rows: Interleaving, packing: Packing, plane: usize, bytes: &mut [u8]) {
    bytes.par_chunks_mut(rows.bytes(packing, plane)).for_each_init(Vec::new, |before, run| {
        before.clear();
        before.extend_from_slice(run);
        rows.interleave(packing, plane, before, run);
    });
}

/// Appends one plane of whole blocks to `out`.
fn pack(format: Format, plane: usize, blocks: &[u8], out: &mut Vec<u8>) {
    let (block, width) = (format.block_bytes(), format.packing().block_bytes(format, plane));
    let start = out.len();
    out.resize(start + blocks.len() / block * width, 0);
    out[start..]
        .par_chunks_mut(TASK_BLOCKS * width)
        .zip(blocks.par_chunks(TASK_BLOCKS * block))
        .for_each(|(out, blocks)| pack_plane(format, plane, blocks, out));
}

/// Appends the values of whole blocks to `out` as floats of format `to`.
fn expand(from: Format, to: Format, blocks: &[u8], out: &mut Vec<u8>) {
    let width = to.block_bytes();
    let task = TASK_BLOCKS.max(8192 / from.block_len());
    let start = out.len();
    out.resize(start + blocks.len() / from.block_bytes() * from.block_len() * width, 0);
    out[start..]
        .par_chunks_mut(task * from.block_len() * width)
        .zip(blocks.par_chunks(task * from.block_bytes()))
        .for_each_init(Vec::new, |values, (out, blocks)| {
            values.resize(out.len() / width, 0.0);
            from.dequantize(blocks, values);
            // `check` lets nothing be expanded to but floats.
            to.store(values, out);
        });
}

/// Sends bytes to the device, at most two pieces at a time.
struct Upload<'a> {
    gpu: &'a Gpu,
    buffers: &'a [wgpu::Buffer],
    /// The submission before the current one.
    under_way: Option<wgpu::SubmissionIndex>,
    since_submit: usize,
}

impl Upload<'_> {
    fn write(&mut self, range: &BufferRange, at: u64, bytes: &[u8]) -> Result<(), RuntimeError> {
        // The plan was verified: its ranges name buffers that exist.
        let buffer = &self.buffers[range.buffer.0 as usize];
        self.gpu.queue.write_buffer(buffer, range.offset + at, bytes);
        self.since_submit += bytes.len();
        if self.since_submit < PIECE { Ok(()) } else { self.submit() }
    }

    /// Submits what was written and waits for what was submitted before: wgpu frees the memory
    /// between only then.
    fn submit(&mut self) -> Result<(), RuntimeError> {
        self.since_submit = 0;
        let submission = self.gpu.queue.submit([]);
        match self.under_way.replace(submission) {
            Some(before) => self.gpu.wait(Some(before), "loading weights"),
            None => Ok(()),
        }
    }
}
