//! What a template is given: the messages of a conversation and the tools that the model may call.
//! Both are JSON objects, of which a template reads what it knows.

use minijinja::value::{Serde, ValueKind};
use minijinja::{Value, context};

use super::ChatError;

/// One message of a conversation: an object with a `role` and more.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub(super) fields: Value,
    /// Bytes of its text, as JSON where it was read from JSON.
    pub(super) bytes: u64,
}

impl Message {
    /// A message that is text alone. The role is `system`, `user`, `assistant` or what else the
    /// template knows.
    pub fn new(role: &str, content: &str) -> Message {
        let bytes = (role.len() + content.len()) as u64;
        Message { fields: context! { role => role, content => content }, bytes }
    }

    /// The messages of a JSON array, each an object in the form that OpenAI's interface has and
    /// Hugging Face transformers takes: a `role`; a `content`, which is text, null or a list of
    /// parts; and perhaps `tool_calls`, `tool_call_id`, `name`, `reasoning_content` and what else
    /// the template knows. They reach the template as they are, with one addition that
    /// transformers makes as well: reasoning under an older name is there as
    /// `reasoning_content` too.
    ///
    /// # Errors
    ///
    /// [`ChatError::Messages`]
    pub fn from_json(json: &str) -> Result<Vec<Message>, ChatError> {
        let wrong = |detail: String| ChatError::Messages { detail };
        let items = array(json).map_err(wrong)?;
        if items.is_empty() {
            return Err(wrong("the array is empty".to_owned()));
        }
        // Which part of the text is whose does not matter: only the sum is used.
        let bytes = json.len() as u64 / items.len() as u64 + 1;
        let checked = items.into_iter().enumerate().map(|(index, fields)| {
            check_message(&fields)
                .map_err(|what| wrong(format!("message {}: {what}", index + 1)))?;
            Ok(Message { fields: with_reasoning(fields), bytes })
        });
        checked.collect()
    }
}

/// The tools that a model is told it may call; by default none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    /// Empty: none were given.
    pub(super) each: Vec<Value>,
    /// Bytes of their JSON.
    pub(super) bytes: u64,
}

impl Tools {
    /// The tools of a JSON array, each `{"type": "function", "function": {"name": …,
    /// "description": …, "parameters": …}}`, as OpenAI's interface has them and Hugging Face
    /// transformers takes them.
    ///
    /// # Errors
    ///
    /// [`ChatError::Tools`]
    pub fn from_json(json: &str) -> Result<Tools, ChatError> {
        let wrong = |detail: String| ChatError::Tools { detail };
        let each = array(json).map_err(wrong)?;
        if each.is_empty() {
            return Err(wrong("the array is empty".to_owned()));
        }
        for (index, tool) in each.iter().enumerate() {
            check_tool(tool).map_err(|what| wrong(format!("tool {}: {what}", index + 1)))?;
        }
        Ok(Tools { each, bytes: json.len() as u64 })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }
}

/// The items of a JSON array. Objects keep the order of their members, as in Python.
fn array(json: &str) -> Result<Vec<Value>, String> {
    let value: Value = serde_json::from_str(json).map_err(|error| format!("no JSON: {error}"))?;
    match value.kind() {
        ValueKind::Seq => Ok(value.try_iter().map_err(|error| error.to_string())?.collect()),
        other => Err(format!("an array is wanted, but this is {}", name_of(other))),
    }
}

/// A member of an object; undefined where it is not there.
fn member(object: &Value, name: &str) -> Value {
    object.get_attr(name).unwrap_or_default()
}

fn check_message(message: &Value) -> Result<(), String> {
    object(message)?;
    match member(message, "role").kind() {
        ValueKind::String => {}
        ValueKind::Undefined => return Err("it has no `role`".to_owned()),
        other => return Err(format!("`role` must be text, but is {}", name_of(other))),
    }
    let content = member(message, "content").kind();
    let calls = member(message, "tool_calls");
    match (content, calls.kind()) {
        (ValueKind::Undefined, ValueKind::Undefined) => {
            return Err("it has neither `content` nor `tool_calls`".to_owned());
        }
        (ValueKind::Bool | ValueKind::Number, _) => {
            return Err(format!("`content` must be text, but is {}", name_of(content)));
        }
        (_, ValueKind::Undefined | ValueKind::None) => return Ok(()),
        (_, ValueKind::Seq) => {}
        (_, other) => {
            return Err(format!("`tool_calls` must be an array, but is {}", name_of(other)));
        }
    }
    for call in calls.try_iter().map_err(|error| error.to_string())? {
        object(&call).map_err(|what| format!("in `tool_calls`, {what}"))?;
        // Transformers also takes the function's members without `function` around them.
        let function = member(&call, "function");
        let function = if function.is_undefined() { &call } else { &function };
        if member(function, "name").as_str().is_none() {
            return Err("in `tool_calls`, a function has no `name`".to_owned());
        }
    }
    Ok(())
}

fn check_tool(tool: &Value) -> Result<(), String> {
    object(tool)?;
    let function = member(tool, "function");
    if member(tool, "type").as_str() != Some("function") || function.kind() != ValueKind::Map {
        return Err("it must have the form {\"type\": \"function\", \"function\": {\"name\": …, \
                    \"description\": …, \"parameters\": …}}"
            .to_owned());
    }
    match member(&function, "name").as_str() {
        Some(_) => Ok(()),
        None => Err("`function` has no `name`".to_owned()),
    }
}

fn object(value: &Value) -> Result<(), String> {
    match value.kind() {
        ValueKind::Map => Ok(()),
        other => Err(format!("an object is wanted, but this is {}", name_of(other))),
    }
}

/// What JSON calls a kind of value.
fn name_of(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::None => "null",
        ValueKind::Bool => "a truth value",
        ValueKind::Number => "a number",
        ValueKind::String => "text",
        ValueKind::Seq => "an array",
        ValueKind::Map => "an object",
        // Nothing else is read from JSON.
        _ => "something else",
    }
}

/// A message whose reasoning is there under the names that templates read it by:
/// `reasoning_content`, and `thinking` (gpt-oss), as transformers fills them.
fn with_reasoning(message: Value) -> Value {
    let names = ["reasoning_content", "thinking", "reasoning"];
    let found = names.iter().map(|name| member(&message, name));
    let Some(reasoning) = found.into_iter().find(|value| !value.is_undefined() && !value.is_none())
    else {
        return message;
    };
    let mut fields: Vec<(String, Value)> = vec![("thinking".to_owned(), reasoning.clone())];
    let mut set = |name: &str, value: Value| match fields.iter_mut().find(|(at, _)| at == name) {
        Some((_, old)) => *old = value,
        None => fields.push((name.to_owned(), value)),
    };
    // A message is an object (checked), whose keys are text.
    for name in message.try_iter().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        set(name, member(&message, name));
    }
    set("reasoning_content", reasoning);
    Value::from(Serde(Fields(fields)))
}

/// The members of an object, in order.
struct Fields(Vec<(String, Value)>);

impl serde::Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
