//! What can be said about a file without a model: unknown, repeated and unused names, wrong
//! arguments, recursion. All that is wrong is reported, not only the first.

use super::error::{ArchError, ErrorKind};
use super::eval::unknown_value;
use super::ops;
use super::suggest;
use super::syntax::ast::{Arch, Argument, Expr, ExprKind, Function, Ident, Span, Statement};
use std::collections::{HashMap, HashSet};

/// Names that have a value without being bound.
const INPUTS: [&str; 3] = ["tokens", "position", "context"];

/// Findings reported at most.
const MAX_FINDINGS: usize = 20;

/// Every error and warning, in the order of the file.
pub(super) fn check(arch: &Arch) -> Vec<ArchError> {
    let mut check = Check {
        arch,
        all_bound: HashMap::new(),
        bound: HashSet::new(),
        used: HashSet::new(),
        findings: vec![],
    };
    check.collect(&arch.body);
    check.functions();
    if let Some(condition) = &arch.when {
        check.expr(condition, &Scope::File);
    }
    check.block(&arch.body);
    check.recursion();
    if !check.all_bound.contains_key("logits") {
        check.findings.push(
            ArchError::new(ErrorKind::Name, "the file does not bind `logits`")
                .label(arch.name.span, "this architecture has no result")
                .help("the last statement is `logits = …`: f32[rows, vocabulary]"),
        );
    }
    check.unused();
    check.findings.truncate(MAX_FINDINGS);
    check.findings
}

/// Which names an expression sees.
enum Scope<'a> {
    /// Those bound above it.
    File,
    /// The parameters, and whatever is bound when the function is called.
    Function(&'a Function),
}

struct Check<'a> {
    arch: &'a Arch,
    /// Every name that some statement binds, and where it first does.
    all_bound: HashMap<&'a str, Span>,
    /// Those bound so far.
    bound: HashSet<&'a str>,
    /// Names read and functions called.
    used: HashSet<&'a str>,
    findings: Vec<ArchError>,
}

impl<'a> Check<'a> {
    fn report(&mut self, error: ArchError) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(error);
        }
    }

    fn collect(&mut self, statements: &'a [Statement]) {
        for statement in statements {
            match statement {
                Statement::Bind { name, .. } => {
                    self.all_bound.entry(&name.text).or_insert(name.span);
                }
                Statement::Layers { variable, body, .. } => {
                    self.all_bound.entry(&variable.text).or_insert(variable.span);
                    self.collect(body);
                }
                Statement::If { then, otherwise, .. } => {
                    self.collect(then);
                    self.collect(otherwise);
                }
                Statement::Require { .. } => {}
            }
        }
    }

    fn functions(&mut self) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for function in &self.arch.functions {
            let name = &function.name;
            if let Some(first) = seen.insert(&name.text, name.span) {
                self.report(
                    ArchError::new(ErrorKind::Name, format!("`{}` is defined twice", name.text))
                        .label(name.span, "again here")
                        .label(first, "first here"),
                );
            }
            if ops::get(&name.text).is_some() {
                let message = format!("`{}` is a built-in function", name.text);
                self.report(
                    ArchError::new(ErrorKind::Name, message)
                        .label(name.span, "choose another name"),
                );
            }
            let mut params = HashSet::new();
            for param in &function.params {
                self.reserved(param);
                if !params.insert(&param.text) {
                    let message = format!("two parameters are named `{}`", param.text);
                    self.report(
                        ArchError::new(ErrorKind::Name, message).label(param.span, "again here"),
                    );
                }
            }
            self.expr(&function.body, &Scope::Function(function));
        }
    }

    /// Inputs and words keep their meaning.
    fn reserved(&mut self, name: &Ident) {
        let what = match INPUTS.contains(&name.text.as_str()) {
            true => "an input of every model",
            false if ops::word(&name.text).is_some() => "a word of the language",
            false => return,
        };
        self.report(
            ArchError::new(ErrorKind::Name, format!("`{}` is {what}", name.text))
                .label(name.span, "choose another name"),
        );
    }

    fn block(&mut self, statements: &'a [Statement]) {
        for statement in statements {
            match statement {
                Statement::Bind { name, value } => {
                    self.expr(value, &Scope::File);
                    self.reserved(name);
                    self.bound.insert(&name.text);
                }
                Statement::Layers { variable, from, to, body } => {
                    self.expr(from, &Scope::File);
                    self.expr(to, &Scope::File);
                    self.reserved(variable);
                    self.bound.insert(&variable.text);
                    self.block(body);
                    self.bound.remove(variable.text.as_str());
                }
                Statement::If { condition, then, otherwise } => {
                    self.expr(condition, &Scope::File);
                    self.block(then);
                    self.block(otherwise);
                }
                Statement::Require { condition, message } => {
                    self.expr(condition, &Scope::File);
                    self.expr(message, &Scope::File);
                }
            }
        }
    }

    fn expr(&mut self, expr: &'a Expr, scope: &Scope<'a>) {
        if self.findings.len() >= MAX_FINDINGS {
            // What an error says takes time to find, and no more are shown.
            return;
        }
        match &expr.kind {
            ExprKind::Name(name) => self.name(name, expr.span, scope),
            ExprKind::Call { function, arguments } => self.call(function, arguments, expr),
            _ => {}
        }
        let mut parts = vec![];
        expr.parts(&mut |part| parts.push(part));
        parts.into_iter().for_each(|part| self.expr(part, scope));
    }

    fn name(&mut self, name: &'a str, span: Span, scope: &Scope<'a>) {
        self.used.insert(name);
        let known = match scope {
            Scope::File => self.bound.contains(name),
            Scope::Function(function) => {
                function.params.iter().any(|param| param.text == name)
                    || self.all_bound.contains_key(name)
            }
        };
        if known || INPUTS.contains(&name) || ops::word(name).is_some() {
            return;
        }
        let error = if let Some(later) = self.all_bound.get(name) {
            ArchError::new(ErrorKind::Name, format!("`{name}` is used before it is bound"))
                .label(span, "not known yet")
                .label(*later, "bound here")
        } else if ops::get(name).is_some() || self.user(name).is_some() {
            ArchError::new(ErrorKind::Name, format!("`{name}` is a function, not a value"))
                .label(span, "call it")
                .help(format!("for example: {name}(x)"))
        } else {
            let params: &[Ident] = match scope {
                Scope::Function(function) => &function.params,
                Scope::File => &[],
            };
            let known = params.iter().map(|param| param.text.as_str());
            let known = known.chain(self.all_bound.keys().copied()).chain(INPUTS);
            unknown_value(name, span, known.chain(ops::words().map(|word| word as &str)))
        };
        self.report(error);
    }

    fn user(&self, name: &str) -> Option<&'a Function> {
        self.arch.functions.iter().find(|function| function.name.text == name)
    }

    fn call(&mut self, name: &'a Ident, arguments: &'a [Argument], expr: &'a Expr) {
        self.used.insert(&name.text);
        let error = match self.user(&name.text) {
            Some(function) => user_arguments(function, arguments, expr).err(),
            None if ops::get(&name.text).is_none() && self.all_bound.contains_key(&*name.text) => {
                let message = format!("`{}` is a value, not a function", name.text);
                Some(ArchError::new(ErrorKind::Name, message).label(name.span, "cannot be called"))
            }
            None => ops::find(name, &self.arch.functions)
                .and_then(|op| ops::bind_arguments(op, arguments, expr).map(drop))
                .err(),
        };
        if let Some(error) = error {
            self.report(error);
        }
    }

    /// Functions that call themselves, directly or through others.
    fn recursion(&mut self) {
        let functions = &self.arch.functions;
        let mut calls: Vec<Vec<(usize, Span)>> = vec![];
        for function in functions {
            let mut found = vec![];
            calls_of(&function.body, &mut |name| {
                let target = functions.iter().position(|other| other.name.text == name.text);
                found.extend(target.map(|target| (target, name.span)));
            });
            calls.push(found);
        }
        for (start, function) in functions.iter().enumerate() {
            // All that is reached from `start`; indices are those of `functions`.
            let (mut seen, mut left) = (HashSet::new(), vec![start]);
            while let Some(at) = left.pop() {
                left.extend(calls[at].iter().map(|(to, _)| *to).filter(|to| seen.insert(*to)));
            }
            let call = calls[start].iter().find(|(to, _)| {
                *to == start || (seen.contains(&start) && reaches(&calls, *to, start))
            });
            if let Some((to, span)) = call {
                let through = match *to == start {
                    true => String::new(),
                    false => format!(" through `{}`", functions[*to].name.text),
                };
                let message = format!("`{}` calls itself{through}", function.name.text);
                self.report(
                    ArchError::new(ErrorKind::Name, message)
                        .label(*span, "this leads back to the function")
                        .label(function.name.span, "defined here")
                        .help(
                            "functions cannot recur; layers repeat with `layers i in 0..n { … }`",
                        ),
                );
                return;
            }
        }
    }

    fn unused(&mut self) {
        let mut unused: Vec<(&str, Span, &str)> = vec![];
        for (name, span) in &self.all_bound {
            if *name != "logits" && !name.starts_with('_') && !self.used.contains(name) {
                unused.push((name, *span, "value"));
            }
        }
        for function in &self.arch.functions {
            if !self.used.contains(function.name.text.as_str()) {
                unused.push((&function.name.text, function.name.span, "function"));
            }
        }
        unused.sort_by_key(|(_, span, _)| span.start);
        for (name, span, what) in unused {
            let warning =
                ArchError::new(ErrorKind::Name, format!("the {what} `{name}` is not used"))
                    .warning()
                    .label(span, "bound here, and read nowhere");
            self.report(warning.help(format!("remove it, or name it `_{name}`")));
        }
    }
}

/// Calls `visit` on the name of each function that is called within `expr`.
fn calls_of<'a>(expr: &'a Expr, visit: &mut dyn FnMut(&'a Ident)) {
    if let ExprKind::Call { function, .. } = &expr.kind {
        visit(function);
    }
    expr.parts(&mut |part| calls_of(part, visit));
}

/// Whether calls lead from one function to another.
fn reaches(calls: &[Vec<(usize, Span)>], from: usize, to: usize) -> bool {
    let (mut seen, mut left) = (HashSet::from([from]), vec![from]);
    while let Some(at) = left.pop() {
        if at == to {
            return true;
        }
        // Indices are positions in `calls`.
        left.extend(calls[at].iter().map(|(next, _)| *next).filter(|next| seen.insert(*next)));
    }
    false
}

/// User functions take their arguments by position, all of them.
fn user_arguments(
    function: &Function,
    arguments: &[Argument],
    call: &Expr,
) -> Result<(), ArchError> {
    let params: Vec<&str> = function.params.iter().map(|param| param.text.as_str()).collect();
    let usage = format!("usage: {}({})", function.name.text, params.join(", "));
    if let Some(name) = arguments.iter().find_map(|argument| argument.name.as_ref()) {
        let message = format!("`{}` takes its arguments by position", function.name.text);
        return Err(ArchError::new(ErrorKind::Argument, message)
            .label(name.span, "no name is needed")
            .maybe_help(suggest::did_you_mean(&name.text, params))
            .help(usage));
    }
    if arguments.len() == params.len() {
        return Ok(());
    }
    let message = format!(
        "`{}` takes {}, but it is given {}",
        function.name.text,
        count(params.len()),
        arguments.len()
    );
    Err(ArchError::new(ErrorKind::Argument, message)
        .label(call.span, format!("{} given here", arguments.len()))
        .label(function.name.span, "defined here")
        .help(usage))
}

fn count(arguments: usize) -> String {
    match arguments {
        1 => "1 argument".into(),
        n => format!("{n} arguments"),
    }
}
