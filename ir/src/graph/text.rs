//! The text form of a graph, for people and for tests; `parse.rs` reads it back.
//!
//! ```text
//! graph "llama"
//!   weight w0 "blk.0.attn_q.weight" Q4_1[576, 576]
//!   state s0 "k.0" f16[3, 64] append
//!   %0 = input tokens : u32[N]
//!   %7 = linear %5, %6 : f32[N, 576] @ "q", layer 0, line 14
//!   %9 = rope(base=100000.0, dims=64, interleaved) %8, %1 : f32[N, 9, 64]
//!   output %120
//! ```
//!
//! Weights, states and values are numbered in order. What an op is made with stands in brackets
//! after its name, its operands follow; then the type and, after `@`, where the value came from.
//! A float is written with as many digits as it takes to read it back exactly.

use super::{Attention, Graph, Op, Origin, Ramp, Rope, Type, ValueId, WeightRows};
use std::fmt::{Display, Formatter, Result, Write};

impl Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "graph {}", Quoted(&self.name))?;
        for (id, weight) in self.weights.iter().enumerate() {
            let (name, format, shape) = (Quoted(&weight.name), weight.format, List(&weight.shape));
            writeln!(f, "  weight w{id} {name} {format}[{shape}]")?;
        }
        for (id, state) in self.states.iter().enumerate() {
            let (name, format, row) = (Quoted(&state.name), state.format.name(), List(&state.row));
            writeln!(f, "  state s{id} {name} {format}[{row}] {}", state.addressing)?;
        }
        for value in self.values() {
            let node = self.node(value);
            write!(f, "  %{} = {}", value.0, node.op)?;
            let operands = self.operands(value);
            if !operands.is_empty() {
                write!(f, " {}", List(&operands))?;
            }
            writeln!(f, " : {}{}", node.ty, node.origin)?;
        }
        match self.output() {
            Some(output) => writeln!(f, "  output {output}"),
            None => Ok(()),
        }
    }
}

impl Display for Op {
    /// The op without its operands: `slice(start=0, len=64)`.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.name())?;
        match self {
            Op::Input(input) => write!(f, " {}", input.name()),
            Op::Weight(id) => write!(f, " w{}", id.0),
            Op::Scalar(scalar) => write!(f, " {scalar:?}"),
            Op::State(id) => write!(f, " s{}", id.0),
            Op::Normalize(spec) => write!(f, "(eps={:?})", spec.eps),
            Op::Rope(spec) => rope(f, spec),
            Op::Reshape(dims) => write!(f, "({})", List(dims)),
            Op::Slice { start, len } => write!(f, "(start={start}, len={len})"),
            Op::Attention(spec) => attention(f, spec),
            Op::WeightRows(WeightRows { start, len, every }) => {
                write!(f, "(start={start}, len={len}, every={every})")
            }
            Op::TopK(k) => write!(f, "(k={k})"),
            Op::Embed | Op::GatherRows | Op::Linear | Op::Append => Ok(()),
            Op::ExpertLinear | Op::ExpertSum | Op::Take | Op::ShortConv | Op::Scan => Ok(()),
            Op::Unary(_) | Op::Binary(_) => Ok(()),
        }
    }
}

/// What is 1 is left out.
fn rope(f: &mut Formatter<'_>, spec: &Rope) -> Result {
    let Rope { base, scale, magnitude, dims, style, ramp } = spec;
    write!(f, "(base={base:?}")?;
    for (name, factor) in [("scale", scale), ("magnitude", magnitude)] {
        if *factor != 1.0 {
            write!(f, ", {name}={factor:?}")?;
        }
    }
    if let Some(Ramp { low, high }) = ramp {
        write!(f, ", low={low:?}, high={high:?}")?;
    }
    write!(f, ", dims={dims}, {})", style.name())
}

fn attention(f: &mut Formatter<'_>, spec: &Attention) -> Result {
    let Attention { scale, window, softcap, alibi } = spec;
    write!(f, "(scale={scale:?}")?;
    if let Some(window) = window {
        write!(f, ", window={window}")?;
    }
    if let Some(softcap) = softcap {
        write!(f, ", softcap={softcap:?}")?;
    }
    if let Some(alibi) = alibi {
        write!(f, ", alibi={alibi:?}")?;
    }
    f.write_char(')')
}

impl Display for Type {
    /// `f32[N, 9, 64]`, or `s0` for a version of a state.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Type::Tensor(tensor) => tensor.fmt(f),
            Type::State(id) => write!(f, "s{}", id.0),
        }
    }
}

impl Display for ValueId {
    /// `%7`
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for Origin {
    /// ` @ "q", layer 0, line 14`, or nothing where nothing is known.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut separator = " @ ";
        let mut part = |text: std::fmt::Arguments<'_>| {
            let between = std::mem::replace(&mut separator, ", ");
            write!(f, "{between}{text}")
        };
        if let Some(name) = &self.name {
            part(format_args!("{}", Quoted(name)))?;
        }
        if let Some(layer) = self.layer {
            part(format_args!("layer {layer}"))?;
        }
        if self.line != 0 {
            part(format_args!("line {}", self.line))?;
        }
        Ok(())
    }
}

/// Text in quotes, on one line: a quote, a backslash and control characters are escaped.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Elements with commas between them.
struct List<'a, T>(&'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (index, element) in self.0.iter().enumerate() {
            write!(f, "{}{element}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
