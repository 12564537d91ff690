//! The scan family: selective state space, token after token.
//!
//! It applies to every scan. One thread takes one channel; the order of tokens is the loop.

use crate::shader::{Binding, Shader, declare};
use crate::template::fill;
use quarrel_ir::plan::Access;

/// Everything a scan kernel is made of.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Heads, a multiple of `groups`.
    pub heads: u32,
    /// Channels of a head.
    pub size: u32,
    /// Elements of the state of a channel.
    pub width: u32,
    /// Groups of heads that share `b` and `c`.
    pub groups: u32,
    /// Decays of a head: `width` or 1.
    pub decays: u32,
    /// WGSL expression for the number of tokens.
    pub count: String,
    /// Bindings besides the kernel's own, which `count` may use.
    pub extra: Vec<Binding>,
    /// Threads of a workgroup.
    pub threads: u32,
}

impl Scan {
    /// The kernel's bindings: `state`, `x`, `steps`, `decay`, `b`, `c`, `slots`, `positions`, `live`,
    /// `y`, then the extra ones.
    pub fn bindings(&self) -> Vec<Binding> {
        let bind = |name: &str, element, access| Binding { name: name.into(), element, access };
        let floats = ["x", "steps", "decay", "b", "c"];
        let ids = ["slots", "positions", "live"];
        let mut all = vec![bind("state", "f32", Access::Write)];
        all.extend(floats.map(|name| bind(name, "f32", Access::Read)));
        all.extend(ids.map(|name| bind(name, "u32", Access::Read)));
        all.push(bind("y", "f32", Access::Write));
        all.extend(self.extra.iter().cloned());
        all
    }

    /// Workgroups.
    pub fn groups(&self) -> u32 {
        (self.heads * self.size).div_ceil(self.threads)
    }

    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        let number = |n: u32| n.to_string();
        let wgsl = fill(
            include_str!("scan.wgsl"),
            &[
                ("bindings", &declare(&self.bindings())),
                ("channels", &number(self.heads * self.size)),
                ("size", &number(self.size)),
                ("width", &number(self.width)),
                ("heads", &number(self.heads)),
                ("share", &number(self.heads / self.groups)),
                ("groups", &number(self.groups)),
                ("threads", &number(self.threads)),
                ("count", &self.count),
                ("decays", &number(self.decays)),
            ],
        );
        Shader {
            family: "scan",
            variant: format!("a channel a thread of {}", self.threads),
            wgsl,
            workgroup: self.threads,
            workgroup_bytes: 0,
        }
    }
}
