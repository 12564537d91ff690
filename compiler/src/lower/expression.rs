//! Element expressions: fused ops as WGSL statements for one element, or four, of a value.

mod rotation;

use super::bindings::{Bindings, IoBuffer, Resource};
use super::halves::Halves;
use super::shares::Shares;
use super::split::Splits;
use super::weights::WeightTable;
use crate::region::{is_leaf, starts_in_fours, weight_behind};
use quarrel_ir::graph::{Graph, Input, NormKind, Normalize, Op, StateId, Type, ValueId, WeightId};
use quarrel_ir::plan::{Access, PlanOptions};
use quarrel_kernels::attention::{CacheRows, cache_row};
use quarrel_kernels::elementwise;
use quarrel_kernels::formats::{snippet, unit_value};
use quarrel_kernels::row_program::float;
use std::collections::{BTreeMap, BTreeSet};

/// Where an element is: a row and a place in it, both WGSL expressions. A place counts vectors of
/// four elements where the expression is wide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The row of the value's row axis.
    pub row: String,
    /// The place among the row's elements.
    pub place: String,
}

/// WGSL for the sum of a product at a unit.
pub type Sum<'a> = Box<dyn Fn(&str) -> String + 'a>;

/// Emits expressions for the values of one region.
pub struct Emitter<'a> {
    pub graph: &'a Graph,
    pub splits: &'a Splits,
    pub halves: &'a Halves,
    pub shares: &'a Shares,
    pub weights: &'a WeightTable,
    pub options: &'a PlanOptions,
    /// Values computed here rather than read.
    pub inline: BTreeSet<ValueId>,
    /// What marks the lines that compute each op of the region.
    pub marks: BTreeMap<ValueId, String>,
    /// How each product's sums are read.
    pub sums: BTreeMap<ValueId, Sum<'a>>,
    /// Names of the statistics of each normalisation: `[mean,] inverse root`.
    pub statistics: BTreeMap<ValueId, Vec<String>>,
    pub bindings: Bindings,
    /// Functions that expressions call, each once.
    pub helpers: Vec<String>,
    /// Ids that the kernel itself has chosen, and the array that holds those of its row.
    pub chosen: Option<(ValueId, &'static str)>,
    /// Tables that rows are gathered from, by their tensors.
    pub tables: Vec<usize>,
}

/// Statements of one function, with what they have named already.
#[derive(Default)]
pub struct Body {
    pub text: String,
    /// By value, place, and whether four elements are meant.
    named: BTreeMap<(ValueId, At, bool), String>,
    count: usize,
    /// What ends the lines that are added.
    mark: String,
}

impl Body {
    /// Statements that are marked so where nothing else is said.
    pub fn marked(mark: String) -> Body {
        Body { mark, ..Body::default() }
    }

    fn bind(&mut self, expression: &str) -> String {
        let name = format!("e{}", self.count);
        self.count += 1;
        self.text.push_str(&format!("    let {name} = {expression};{}\n", self.mark));
        name
    }
}

impl Emitter<'_> {
    /// The name of `value` at `at` after statements added to `body`; a `vec4<f32>` where `wide`.
    pub fn value(&mut self, body: &mut Body, value: ValueId, at: &At, wide: bool) -> String {
        let key = (value, at.clone(), wide);
        if let Some(name) = body.named.get(&key) {
            return name.clone();
        }
        // What no op of the kernel computes, such as a load, is its reader's.
        let outer =
            self.marks.get(&value).map(|mark| std::mem::replace(&mut body.mark, mark.clone()));
        let expression = self.expression(body, value, at, wide);
        let name = body.bind(&expression);
        if let Some(outer) = outer {
            body.mark = outer;
        }
        body.named.insert(key, name.clone());
        name
    }

    /// What marks the lines that compute `value`; nothing where the region does not.
    pub fn mark(&self, value: ValueId) -> String {
        self.marks.get(&value).cloned().unwrap_or_default()
    }

    fn expression(&mut self, body: &mut Body, value: ValueId, at: &At, wide: bool) -> String {
        let graph = self.graph;
        if let Some(sum) = self.sums.get(&value) {
            return sum(&at.place);
        }
        let operands = graph.operands(value);
        match graph.op(value) {
            Op::Scalar(x) if wide => return format!("vec4<f32>({})", float(*x)),
            Op::Scalar(x) => return float(*x),
            Op::Weight(id) => return self.vector(*id, at, wide),
            Op::Reshape(_) => return self.value(body, operands[0], at, wide),
            // Part of a weight.
            Op::Slice { start, len } if is_leaf(graph, value) => {
                return self.slice(body, operands[0], (*start, *len), at, wide);
            }
            Op::TopK(_) => return self.id(value, at),
            _ => {}
        }
        if !self.inline.contains(&value) {
            return self.load(value, at, wide);
        }
        match graph.op(value) {
            Op::Unary(op) => {
                let x = self.value(body, operands[0], at, wide);
                self.helper(elementwise::helpers(*op).to_string());
                elementwise::unary(*op, &x, wide)
            }
            Op::Binary(op) => {
                let a = self.operand(body, value, operands[0], at, wide);
                let b = self.operand(body, value, operands[1], at, wide);
                elementwise::binary(*op, &a, &b)
            }
            Op::Normalize(norm) => self.normalized(body, value, norm, operands[0], at, wide),
            Op::Rope(rope) => self.rope(body, rope, value, &operands, at),
            Op::GatherRows => {
                let rows = self.io(IoBuffer::OutRows);
                let at = At { row: format!("{rows}[{}]", at.row), place: at.place.clone() };
                self.value(body, operands[0], &at, wide)
            }
            Op::Embed => self.embed(operands[0], operands[1], at, wide),
            Op::Take => {
                let id = self.id(operands[1], at);
                let place = body.bind(&id);
                self.value(body, operands[0], &At { row: at.row.clone(), place }, wide)
            }
            Op::ExpertSum => self.expert_sum(body, &operands, at, wide),
            Op::ShortConv => self.short_conv(body, &operands, at),
            Op::Slice { start, len } => self.slice(body, operands[0], (*start, *len), at, wide),
            op => unreachable!("{} is never fused as an element expression", op.name()),
        }
    }

    /// An operand of a binary op, which may repeat to the result: see
    /// [`TensorType::repeats_to`](quarrel_ir::graph::TensorType::repeats_to).
    fn operand(
        &mut self,
        body: &mut Body,
        value: ValueId,
        operand: ValueId,
        at: &At,
        wide: bool,
    ) -> String {
        let dims = |v| self.graph.tensor(v).map_or(&[][..], |t| &t.dims);
        let (whole, part) = (dims(value), dims(operand));
        let width: u64 = part.iter().product();
        if part == whole || (width == 1 && is_leaf(self.graph, operand)) {
            return self.value(body, operand, at, wide);
        }
        let beside = |place: String| At { row: at.row.clone(), place };
        let four = if wide { 4 } else { 1 };
        if whole.ends_with(part) {
            let place = format!("({}) % {}u", at.place, width / four);
            return self.value(body, operand, &beside(place), wide);
        }
        // Where the last axis repeats, one element serves all of it.
        let last = whole.last().copied().unwrap_or(1);
        let one = part.last().is_none_or(|d| *d == 1);
        let row = body.bind(&format!("({}) / {}u", at.place, last / four));
        let (mut index, mut stride, mut period) = (String::from("0u"), 1, 1);
        for (axis, extent) in whole.iter().rev().enumerate().skip(1) {
            let has = part.iter().rev().nth(axis).copied().unwrap_or(1);
            if has > 1 {
                index += &format!(" + {row} / {period}u % {extent}u * {stride}u");
            }
            stride *= has;
            period *= extent;
        }
        if one {
            let element = self.value(body, operand, &beside(index), false);
            return if wide { format!("vec4<f32>({element})") } else { element };
        }
        let last = last / four;
        let place = format!("({index}) * {last}u + ({}) % {last}u", at.place);
        self.value(body, operand, &beside(place), wide)
    }

    /// Id `at.place` of row `at.row` of ids that a top-k yields.
    fn id(&mut self, ids: ValueId, at: &At) -> String {
        if let Some((_, array)) = self.chosen.filter(|(value, _)| *value == ids) {
            return format!("{array}[{}]", at.place);
        }
        let width = self.graph.tensor(ids).map_or(1, |t| t.width());
        let name = self.bindings.name(Resource::Value(ids), "u32", Access::Read);
        format!("{name}[({}) * {width}u + {}]", at.row, at.place)
    }

    /// What the experts of a row yield, each times its weight.
    fn expert_sum(&mut self, body: &mut Body, operands: &[ValueId], at: &At, wide: bool) -> String {
        let (top, width) = match self.graph.tensor(operands[0]).map(|t| &t.dims[..]) {
            Some([top, width]) => (*top, if wide { width / 4 } else { *width }),
            _ => unreachable!("the types of a sum over experts were checked when it was added"),
        };
        let term = |which: u64| {
            let beside = |place: String| At { row: at.row.clone(), place };
            let y = self.value(
                body,
                operands[0],
                &beside(format!("{}u + {}", which * width, at.place)),
                wide,
            );
            let weight = self.value(body, operands[1], &beside(format!("{which}u")), false);
            format!("{y} * {weight}")
        };
        (0..top).map(term).collect::<Vec<_>>().join(" + ")
    }

    /// One channel of a convolution along the rows of a state.
    fn short_conv(&mut self, body: &mut Body, operands: &[ValueId], at: &At) -> String {
        let graph = self.graph;
        let Type::State(state) = graph.node(operands[0]).ty else {
            unreachable!("the types of a convolution were checked when it was added")
        };
        let taps = graph.tensor(operands[1]).map_or(1, |t| t.last());
        let width = graph.states[state.0 as usize].width();
        let rows = rows_of(self.graph, self.options, state);
        self.helper(cache_row(rows));
        let (slots, positions) = (self.io(IoBuffer::Slots), self.io(IoBuffer::Positions));
        let name = self.bindings.name(Resource::State(state), "f32", Access::Read);
        let place = body.bind(&at.place);
        let position = body.bind(&format!("{positions}[{}]", at.row));
        let mut terms = Vec::new();
        for tap in 0..taps {
            let beside = At { row: at.row.clone(), place: format!("{place} * {taps}u + {tap}u") };
            let weight = self.value(body, operands[1], &beside, false);
            let back = taps - 1 - tap;
            // Rows before position 0 are zeros; what is read in their place is not used.
            let row =
                format!("{}({slots}[{}], max({position}, {back}u) - {back}u)", rows.name(), at.row);
            terms.push(format!(
                "select(0.0, {weight} * {name}[{row} * {width}u + {place}], {position} >= {back}u)"
            ));
        }
        terms.join(" + ")
    }

    /// An element of a weight that is no matrix of a product.
    fn vector(&mut self, id: WeightId, at: &At, wide: bool) -> String {
        let vector = Resource::Weight(self.weights.vector(id));
        if self.graph.weights[id.0 as usize].elements() == 1 {
            let first = self.read(vector, "0", wide);
            return if wide { format!("vec4<f32>({first}.x)") } else { first };
        }
        self.read(vector, &at.place, wide)
    }

    /// The name of one of the step's own buffers.
    pub fn io(&mut self, io: IoBuffer) -> String {
        self.bindings.name(Resource::Io(io), "u32", Access::Read)
    }

    /// Adds a function that expressions call, once.
    pub fn helper(&mut self, text: String) {
        if !text.is_empty() && !self.helpers.contains(&text) {
            self.helpers.push(text);
        }
    }

    fn normalized(
        &mut self,
        body: &mut Body,
        value: ValueId,
        norm: &Normalize,
        x: ValueId,
        at: &At,
        wide: bool,
    ) -> String {
        let x = self.value(body, x, at, wide);
        // Statistics of long rows are named before any expression that uses them is emitted.
        let Some(names) = self.statistics.get(&value) else {
            return self.normalized_short(body, value, norm, at, &x);
        };
        match norm.kind {
            NormKind::Rms => format!("{x} * {}", names[0]),
            NormKind::Layer => format!("({x} - {}) * {}", names[0], names[1]),
            NormKind::Softmax => format!("exp({x} - {}) * {}", names[0], names[1]),
            NormKind::Sum => format!("{x} * {}", names[0]),
        }
    }

    /// A softmax or share of a row of few elements, each of which is computed here.
    fn normalized_short(
        &mut self,
        body: &mut Body,
        value: ValueId,
        norm: &Normalize,
        at: &At,
        x: &str,
    ) -> String {
        let operand = self.graph.operands(value)[0];
        let width = self.graph.tensor(value).map_or(1, |t| t.last());
        let all: Vec<String> = (0..width)
            .map(|i| {
                let at = At { row: at.row.clone(), place: format!("{i}u") };
                self.value(body, operand, &at, false)
            })
            .collect();
        let eps = float(norm.eps);
        match norm.kind {
            NormKind::Sum => format!("{x} / ({} + {eps})", all.join(" + ")),
            NormKind::Softmax => {
                let most = all.iter().skip(1).fold(all[0].clone(), |a, b| format!("max({a}, {b})"));
                let most = body.bind(&most);
                let sum: Vec<String> = all.iter().map(|x| format!("exp({x} - {most})")).collect();
                format!("exp({x} - {most}) / ({} + {eps})", sum.join(" + "))
            }
            NormKind::Rms | NormKind::Layer => {
                unreachable!("fusion takes statistics of these in a kernel's own pass")
            }
        }
    }

    /// Elements of a gathered table row, dequantised.
    fn embed(&mut self, table: ValueId, ids: ValueId, at: &At, wide: bool) -> String {
        let Some(id) = weight_behind(self.graph, table) else {
            unreachable!("the table of an embedding is a weight: the types say so")
        };
        let matrix = self.weights.matrix(id);
        let known = self.tables.iter().position(|tensor| *tensor == matrix.tensor);
        let index = known.unwrap_or_else(|| {
            self.tables.push(matrix.tensor);
            self.tables.len() - 1
        });
        let units = matrix.format.packing().chunk as u64 / 4;
        let chunks = matrix.columns / (units * 4);
        let mut text = format!("fn table{index}_row(row: u32, j: u32) -> vec4<f32> {{\n");
        for part in 0..matrix.parts() {
            let prefix = format!("table{index}_{part}_");
            for (range, binding) in matrix.plane_bindings(part, &prefix, matrix.words) {
                self.bindings.add_once(Resource::Weight(range), binding);
            }
            let rows = matrix.interleaving;
            self.helper(snippet(matrix.format).text(&prefix, matrix.words, rows));
            let start = part as u64 * matrix.part_rows;
            let row = match (matrix.first_row, start) {
                (0, 0) => "row".to_string(),
                (first, 0) => format!("(row + {first}u)"),
                (_, start) => format!("(row - {start}u)"),
            };
            if part + 1 < matrix.parts() {
                text.push_str(&format!("    if (row < {}u) {{\n", start + matrix.part_rows));
            } else {
                text.push_str("    {\n");
            }
            text.push_str(&format!(
                "        let raw = {prefix}load({row} * {chunks}u + j / {units}u);\n        \
                 return {};\n    }}\n",
                unit_value(matrix.format, &prefix, "raw", &format!("(j % {units}u)"))
            ));
        }
        self.helper(text + "}\n");
        let ids = self.io(match self.graph.op(ids) {
            Op::Input(Input::Position) => IoBuffer::Positions,
            Op::Input(Input::Slot) => IoBuffer::Slots,
            _ => IoBuffer::Tokens,
        });
        if wide {
            format!("table{index}_row({ids}[{}], {})", at.row, at.place)
        } else {
            format!(
                "table{index}_row({ids}[{}], ({}) >> 2u)[({}) & 3u]",
                at.row, at.place, at.place
            )
        }
    }

    fn slice(
        &mut self,
        body: &mut Body,
        x: ValueId,
        (start, len): (u64, u64),
        at: &At,
        wide: bool,
    ) -> String {
        let unit = if wide { 4 } else { 1 };
        let last = self.graph.tensor(x).map_or(1, |t| t.last()) / unit;
        let (start, len) = (start / unit, len / unit);
        let place = body.bind(&at.place);
        let place = format!("{place} / {len}u * {last}u + {start}u + {place} % {len}u");
        self.value(body, x, &At { row: at.row.clone(), place }, wide)
    }
}

/// Where the rows of a state are.
pub fn rows_of(graph: &Graph, options: &PlanOptions, state: StateId) -> CacheRows {
    let addressing = graph.states[state.0 as usize].addressing;
    let (context, chunk) = (options.context, options.step_tokens());
    CacheRows {
        rows: addressing.rows(context, chunk),
        ring: addressing.comes_round(context, chunk),
    }
}

/// Whether every value in `inline` can be emitted four elements at a time.
pub fn can_be_wide(graph: &Graph, inline: &BTreeSet<ValueId>) -> bool {
    let fours = |value: ValueId| {
        graph.tensor(value).is_some_and(|t| t.last().is_multiple_of(4) || t.dims.is_empty())
    };
    inline.iter().all(|&value| match graph.op(value) {
        Op::Rope(_) | Op::Append | Op::ShortConv | Op::Take | Op::TopK(_) => false,
        Op::Slice { start, .. } => {
            start.is_multiple_of(4) && fours(value) && fours(graph.operands(value)[0])
        }
        Op::Input(Input::Tokens) => true,
        // The weights are taken one by one.
        Op::ExpertSum => fours(value) && fours(graph.operands(value)[0]),
        _ => {
            fours(value)
                && graph.operands(value).iter().all(|&o| {
                    starts_in_fours(graph, o)
                        && graph.tensor(o).is_none_or(|t| {
                            t.dims.is_empty() || t.last().is_multiple_of(4) || t.last() == 1
                        })
                })
        }
    })
}
