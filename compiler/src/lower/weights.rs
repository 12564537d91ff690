//! Weight layout: which tensors are joined, in which format, and where their planes go.
//!
//! Before: regions. After: every weight that a region reads has a place in a weight buffer, one
//! place each. Matrices that one kernel multiplies are joined where they share a format and nobody
//! else reads them. A matrix too large for one binding lies in parts, each a range of its rows.

use crate::error::CompileError;
use crate::region::{Anchor, Region, matrix_operand, weight_behind};
use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::format::Format;
use quarrel_ir::graph::{Graph, WeightId};
use quarrel_ir::packing::Interleaving;
use quarrel_ir::plan::{Buffer, BufferId, BufferRange, BufferRole, LoadTensor};
use quarrel_kernels::formats::{Words, plane_bindings};
use quarrel_kernels::product::{Order, PART_ROWS};
use quarrel_kernels::shader::Binding;
use std::collections::{BTreeMap, BTreeSet};

/// Weight buffers are at most this large unless one plane is larger.
const BUFFER_BYTES: u64 = 1 << 28;

/// Where all weights are.
#[derive(Debug, Default)]
pub struct WeightTable {
    /// The load program.
    pub load: Vec<LoadTensor>,
    /// The buffers, numbered from 0.
    pub buffers: Vec<Buffer>,
    /// How kernels load words, those of activations too.
    pub words: Words,
    matrices: BTreeMap<WeightId, Matrix>,
    vectors: BTreeMap<WeightId, BufferRange>,
}

/// Where a matrix is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Index in the load program: matrices of the same tensor share planes.
    pub tensor: usize,
    /// Format on the device.
    pub format: Format,
    /// Elements of a row on the device: those of the model, then zeros up to a whole chunk.
    pub columns: u64,
    /// Its first row in the tensor; 0 for a matrix in parts.
    pub first_row: u64,
    /// Rows of each part but the last.
    pub part_rows: u64,
    /// How its rows are interleaved, where they are.
    pub interleaving: Option<Interleaving>,
    /// How kernels load its words.
    pub words: Words,
    /// The planes of the first part, then those of the second, ….
    pub planes: Vec<BufferRange>,
}

impl Matrix {
    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.planes.len() / self.format.packing().planes.len()
    }

    /// The planes of part `part` with their bindings under `prefix`.
    pub fn plane_bindings(
        &self,
        part: usize,
        prefix: &str,
        words: Words,
    ) -> Vec<(BufferRange, Binding)> {
        let bindings = plane_bindings(self.format, prefix, words);
        self.planes.iter().skip(part * bindings.len()).copied().zip(bindings).collect()
    }
}

/// How kernels of `device` load words.
fn words(device: &DeviceFacts) -> Words {
    match device.kind == DeviceKind::Cpu && device.shader_int64 {
        true => Words::Pairs,
        false => Words::Fours,
    }
}

impl WeightTable {
    /// Lays out the weights that `regions` read.
    pub fn build<'r>(
        graph: &Graph,
        regions: impl IntoIterator<Item = &'r Region>,
        expand: Option<Format>,
        device: &DeviceFacts,
    ) -> Result<WeightTable, CompileError> {
        let regions: Vec<&Region> = regions.into_iter().collect();
        let mut builder = Builder {
            graph,
            expand,
            device,
            uses: matrix_uses(graph),
            heads: BTreeMap::new(),
            table: WeightTable { words: words(device), ..WeightTable::default() },
        };
        for region in &regions {
            builder.note_heads(region);
        }
        for region in regions {
            if let Anchor::Product(product) = &region.anchor {
                let weights: Vec<WeightId> =
                    product.linears().filter_map(|linear| builder.weight_of(linear, 1)).collect();
                builder.join(&weights)?;
            }
            for &member in region.members.keys() {
                builder.place_operands(member)?;
            }
        }
        Ok(builder.table)
    }

    /// Where a matrix is.
    ///
    /// # Panics
    /// If no region that was laid out multiplies by it or gathers from it.
    pub fn matrix(&self, id: WeightId) -> &Matrix {
        &self.matrices[&id]
    }

    /// Where a vector is, as F32.
    ///
    /// # Panics
    /// If no region that was laid out reads it.
    pub fn vector(&self, id: WeightId) -> BufferRange {
        self.vectors[&id]
    }
}

/// How many ops use each weight as a matrix.
fn matrix_uses(graph: &Graph) -> BTreeMap<WeightId, usize> {
    let mut uses = BTreeMap::new();
    for value in graph.values() {
        let Some(operand) = matrix_operand(graph.op(value)) else { continue };
        if let Some(id) = weight_behind(graph, graph.operands(value)[operand]) {
            *uses.entry(id).or_insert(0) += 1;
        }
    }
    uses
}

struct Builder<'a> {
    graph: &'a Graph,
    expand: Option<Format>,
    device: &'a DeviceFacts,
    uses: BTreeMap<WeightId, usize>,
    /// Rows of each matrix that a kernel takes in an order of its own and that stay together.
    heads: BTreeMap<WeightId, u64>,
    table: WeightTable,
}

impl Builder<'_> {
    fn weight_of(&self, value: quarrel_ir::graph::ValueId, operand: usize) -> Option<WeightId> {
        weight_behind(self.graph, *self.graph.operands(value).get(operand)?)
    }

    fn note_heads(&mut self, region: &Region) {
        let Anchor::Product(product) = &region.anchor else { return };
        for group in &product.groups {
            let Order::HalfPairs { head, .. } = group.order else { continue };
            for &linear in &group.linears {
                let Some(id) = self.weight_of(linear, 1) else { continue };
                let known = self.heads.entry(id).or_insert(1);
                *known = common_multiple(*known, head.into());
            }
        }
    }

    /// Places the matrices of one product, joining neighbours where that is possible.
    fn join(&mut self, weights: &[WeightId]) -> Result<(), CompileError> {
        let mut seen = BTreeSet::new();
        let mut run: Vec<WeightId> = Vec::new();
        for &id in weights {
            if self.table.matrices.contains_key(&id) || !seen.insert(id) {
                continue;
            }
            if self.uses.get(&id).copied().unwrap_or(0) > 1 {
                self.place_matrix(&[id])?;
                continue;
            }
            if let Some(&last) = run.last()
                && (self.format(last) != self.format(id) || !self.fits(&run, id))
            {
                self.place_matrix(&std::mem::take(&mut run))?;
            }
            run.push(id);
        }
        if run.is_empty() { Ok(()) } else { self.place_matrix(&run) }
    }

    fn place_operands(&mut self, member: quarrel_ir::graph::ValueId) -> Result<(), CompileError> {
        let matrix = matrix_operand(self.graph.op(member));
        for operand in 0..self.graph.operands(member).len() {
            let Some(id) = self.weight_of(member, operand) else { continue };
            if matrix == Some(operand) {
                self.join(&[id])?;
            } else if !self.table.vectors.contains_key(&id) {
                self.place_vector(id)?;
            }
        }
        Ok(())
    }

    /// The format of a matrix on the device.
    fn format(&self, id: WeightId) -> Format {
        let info = &self.graph.weights[id.0 as usize];
        let wanted = self.expand.unwrap_or(info.format);
        let chunk = wanted.packing().chunk as u64;
        let whole = info.row_len().is_multiple_of(chunk);
        if whole && wanted.row_bytes(info.row_len()).is_some() { wanted } else { Format::F32 }
    }

    /// Elements of a row of a matrix on the device, whole chunks.
    fn columns(&self, id: WeightId) -> u64 {
        let chunk = self.format(id).packing().chunk as u64;
        self.graph.weights[id.0 as usize].row_len().next_multiple_of(chunk)
    }

    fn rows(&self, id: WeightId) -> u64 {
        let info = &self.graph.weights[id.0 as usize];
        info.elements() / info.row_len().max(1)
    }

    /// Whether the matrices of `run` and `id` can share a binding.
    fn fits(&self, run: &[WeightId], id: WeightId) -> bool {
        let rows: u64 = run.iter().chain([&id]).map(|id| self.rows(*id)).sum();
        self.binds(self.format(id), rows * self.columns(id))
    }

    /// Whether each plane of this many elements fits in a binding.
    fn binds(&self, format: Format, elements: u64) -> bool {
        let packing = format.packing();
        let mut planes = 0..packing.planes.len();
        planes.all(|plane| packing.plane_bytes(plane, elements) <= self.device.max_binding_bytes)
    }

    /// Rows of each part of a tensor: all of them where they fit in a binding.
    fn part_rows(&self, ids: &[WeightId], format: Format, rows: u64, columns: u64) -> Option<u64> {
        if self.binds(format, rows * columns) {
            return Some(rows);
        }
        let heads = ids.iter().filter_map(|id| self.heads.get(id)).copied();
        let step = heads.fold(u64::from(PART_ROWS), common_multiple);
        // Matrices are joined only where they fit.
        let mut parts = (1..rows.div_ceil(step)).rev().map(|steps| steps * step);
        parts.find(|rows| self.binds(format, rows * columns)).filter(|_| ids.len() == 1)
    }

    fn place_matrix(&mut self, ids: &[WeightId]) -> Result<(), CompileError> {
        let (format, columns) = (self.format(ids[0]), self.columns(ids[0]));
        let row_len = self.graph.weights[ids[0].0 as usize].row_len();
        let rows = ids.iter().map(|id| self.rows(*id)).sum();
        let planes = self.place(ids, format, rows, (row_len, columns))?;
        let tensor = self.table.load.len() - 1;
        let mut first_row = 0;
        let words = self.table.words;
        for &id in ids {
            let LoadTensor { part_rows, .. } = self.table.load[tensor];
            let interleaving = self.table.load[tensor].interleaving();
            let planes = planes.clone();
            let matrix = Matrix {
                tensor,
                format,
                columns,
                first_row,
                part_rows,
                interleaving,
                words,
                planes,
            };
            first_row += self.rows(id);
            self.table.matrices.insert(id, matrix);
        }
        Ok(())
    }

    fn place_vector(&mut self, id: WeightId) -> Result<(), CompileError> {
        let columns = self.graph.weights[id.0 as usize].elements();
        let planes = self.place(&[id], Format::F32, 1, (columns, columns))?;
        self.table.vectors.insert(id, planes[0]);
        Ok(())
    }

    /// Finds room for a tensor, whose rows have `row_len` elements in the file and `columns` on the
    /// device, and adds it to the load program.
    fn place(
        &mut self,
        ids: &[WeightId],
        format: Format,
        rows: u64,
        (row_len, columns): (u64, u64),
    ) -> Result<Vec<BufferRange>, CompileError> {
        let packing = format.packing();
        let names = ids.iter().map(|id| self.graph.weights[id.0 as usize].name.clone());
        let sources: Vec<String> = names.collect();
        let part_rows = self.part_rows(ids, format, rows, columns);
        // A kernel binds more than this matrix.
        let most = u64::from(self.device.max_storage_buffers / 2).max(1);
        let count = packing.planes.len() as u64;
        let fits = |part: &u64| *part >= rows || rows.div_ceil(*part) * count <= most;
        let part_rows = part_rows.filter(fits).ok_or_else(|| CompileError::TooLarge {
            tensor: sources.join("+"),
            needs: packing.plane_bytes(0, rows * columns),
            device: self.device.name.clone(),
            has: self.device.max_binding_bytes,
        })?;
        let mut planes = Vec::new();
        for start in (0..rows).step_by(part_rows.max(1) as usize) {
            let elements = part_rows.min(rows - start) * columns;
            for plane in 0..packing.planes.len() {
                planes.push(self.allocate(packing.plane_bytes(plane, elements)));
            }
        }
        let interleaved = self.interleaved(format, (rows, part_rows), columns);
        let tensor =
            LoadTensor { sources, rows, row_len, columns, format, part_rows, interleaved, planes };
        let planes = tensor.planes.clone();
        self.table.load.push(tensor);
        Ok(planes)
    }

    /// Rows of a tensor that are interleaved: as many as a subgroup has lanes, where lanes read memory by
    /// themselves and have a row each.
    fn interleaved(&self, format: Format, (rows, part_rows): (u64, u64), columns: u64) -> u64 {
        let lanes = u64::from(self.device.subgroup_size);
        let whole = lanes > 1 && rows.is_multiple_of(lanes) && part_rows.is_multiple_of(lanes);
        let possible = whole && Interleaving::new(format, lanes, columns).is_some();
        if possible && self.table.words == Words::Pairs { lanes } else { 1 }
    }

    fn allocate(&mut self, bytes: u64) -> BufferRange {
        let alignment = u64::from(self.device.binding_alignment).max(16);
        let buffers = &mut self.table.buffers;
        let fits = buffers
            .last()
            .is_some_and(|last| last.bytes.next_multiple_of(alignment) + bytes <= BUFFER_BYTES);
        if !fits {
            buffers.push(Buffer {
                name: format!("weights {}", buffers.len()),
                bytes: 0,
                role: BufferRole::Weights,
                tenants: vec![],
            });
        }
        let index = buffers.len() - 1;
        let offset = buffers[index].bytes.next_multiple_of(alignment);
        buffers[index].bytes = offset + bytes;
        BufferRange { buffer: BufferId(index as u32), offset, bytes }
    }
}

fn common_multiple(a: u64, b: u64) -> u64 {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor.max(1) * b
}
