//! What a kernel under construction binds, and the finished kernel text.

use quarrel_ir::plan::{Access, KernelBinding};

/// A storage binding: a name, the WGSL element type of its array and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its name in the text.
    pub name: String,
    /// WGSL element type, such as `vec4<f32>`.
    pub element: &'static str,
    /// Whether the kernel writes it.
    pub access: Access,
}

impl Binding {
    /// What the plan says of it.
    pub fn declared(&self) -> KernelBinding {
        KernelBinding { name: self.name.clone(), access: self.access }
    }
}

/// The declarations of `bindings` in group 0, in order, which come before all others in a text.
pub fn declare(bindings: &[Binding]) -> String {
    let halves = bindings.iter().any(|binding| binding.element.contains("f16"));
    let mut text = if halves { "enable f16;\n".to_string() } else { String::new() };
    for (index, binding) in bindings.iter().enumerate() {
        let access = match binding.access {
            Access::Read => "read",
            Access::Write => "read_write",
        };
        text.push_str(&format!(
            "@group(0) @binding({index}) var<storage, {access}> {}: array<{}>;\n",
            binding.name, binding.element
        ));
    }
    text
}

/// Text of a kernel with what its launch needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shader {
    /// The family.
    pub family: &'static str,
    /// The variant's parameters, for people.
    pub variant: String,
    /// WGSL.
    pub wgsl: String,
    /// Threads of a workgroup.
    pub workgroup: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
}
