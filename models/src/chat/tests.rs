//! Tests of chat templates: the styles of the model families, and templates that mean harm.

use std::time::Instant;

use super::*;

/// SmolLM2's template, as its file has it.
const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// In the style of Llama 3.
const LLAMA3: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "In " + date_string[:2] + "00s. " + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

/// In the style of Qwen 2.5 and 3: a namespace, the messages backwards, reasoning cut off.
const QWEN: &str = r#"{%- if tools %}
    {{- '# Tools\n' }}
    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, found=false) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if not ns.found and message.role == "user" and not(message.content.startswith('<tool_response>')) %}
        {%- set ns.found = true %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (loop.first and message.role == "system") %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
        {{- '<|im_start|>assistant\n' + content }}
        {%- if loop.last or loop.index0 > ns.last %}{{- ' (last)' }}{%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"#;

/// In the style of Gemma, which knows no system message.
const GEMMA: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}";

/// In the style of Mistral.
const MISTRAL: &str = r#"{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] not in ["user", "assistant"] %}
        {{- raise_exception("Unexpected role " + message["role"]) }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- endif %}
{%- endfor %}
"#;

fn talk(turns: &[(&str, &str)]) -> Vec<Message> {
    turns.iter().map(|(role, content)| Message::new(role, content)).collect()
}

fn check(template: &str, turns: &[(&str, &str)], expect: &str) {
    let template = ChatTemplate::new(template, "<bos>", "<eos>").unwrap();
    assert_eq!(template.render(&talk(turns), &Tools::default(), true).unwrap(), expect);
}

fn error_of(template: &str) -> ChatError {
    match ChatTemplate::new(template, "", "") {
        Ok(template) => {
            template.render(&talk(&[("user", "Hi")]), &Tools::default(), true).unwrap_err()
        }
        Err(error) => error,
    }
}

#[test]
fn smollm2() {
    check(
        SMOLLM2,
        &[("user", "Hi")],
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    );
    check(
        SMOLLM2,
        &[("system", "Be brief."), ("user", " Hi\n"), ("assistant", "Yo"), ("user", "?")],
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n",
    );
    let template = ChatTemplate::new(SMOLLM2, "", "").unwrap();
    let text = template.render(&talk(&[("system", "S")]), &Tools::default(), false).unwrap();
    assert_eq!(text, "<|im_start|>system\nS<|im_end|>\n");
}

#[test]
fn llama3() {
    check(
        LLAMA3,
        &[("system", " Be brief. "), ("user", " Hi ")],
        "<bos><|start_header_id|>system<|end_header_id|>\n\nIn 2000s. Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    );
}

#[test]
fn qwen() {
    check(
        QWEN,
        &[("user", "1"), ("assistant", "<think>\nhm\n</think>\n\ntwo"), ("user", "3")],
        "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n<|im_start|>user\n3<|im_end|>\n<|im_start|>assistant\n",
    );
}

#[test]
fn gemma() {
    check(
        GEMMA,
        &[("user", "Hi"), ("assistant", "Yo "), ("user", "?")],
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYo<end_of_turn>\n<start_of_turn>user\n?<end_of_turn>\n<start_of_turn>model\n",
    );
    let template = ChatTemplate::new(GEMMA, "<bos>", "").unwrap();
    let refused = |turns| template.render(&talk(turns), &Tools::default(), true).unwrap_err();
    let message = "System role not supported".to_owned();
    assert_eq!(refused(&[("system", "S"), ("user", "Hi")]), ChatError::Refused { message });
    let error = refused(&[("user", "Hi"), ("user", "Hi")]).to_string();
    assert!(error.contains("refuses") && error.contains("must alternate"), "{error}");
}

#[test]
fn mistral() {
    check(
        MISTRAL,
        &[("system", "S"), ("user", "Hi"), ("assistant", " Yo"), ("user", "?")],
        "<bos>[INST] Hi[/INST] Yo<eos>[INST] S\n\n?[/INST]",
    );
    let template = ChatTemplate::new(MISTRAL, "", "").unwrap();
    let error = template.render(&talk(&[("tool", "x")]), &Tools::default(), true).unwrap_err();
    assert_eq!(error, ChatError::Refused { message: "Unexpected role tool".to_owned() });
}

#[test]
fn whitespace_as_transformers_sets_it() {
    check("  {% if true %}\n  x\n  {% endif %}\ny\n", &[], "  x\ny");
    check(
        "{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}",
        &[],
        "1",
    );
}

#[test]
fn generation_marks_change_nothing() {
    check("a {%- generation -%} b {%- endgeneration %} c", &[], "ab c");
    check("{% generation %}\nx\n{% endgeneration %}\ny", &[], "x\ny");
}

#[test]
fn json_as_python_writes_it() {
    check("{{ {'a': [1, 'é<b>'], 'c': none}|tojson }}", &[], r#"{"a": [1, "é<b>"], "c": null}"#);
    check("{{ {'a': 1}|tojson(indent=2) }}", &[], "{\n  \"a\": 1\n}");
    check("{{ messages|tojson }}", &[("user", "\n")], r#"[{"role": "user", "content": "\n"}]"#);
}

#[test]
fn methods_as_python_has_them() {
    // What jinja2 3.1.6 on Python 3.11 gives.
    check("{{ 'a-b-c'.partition('-') }}", &[], "('a', '-', 'b-c')");
    check(
        "{{ 'a-b-c'.rpartition('-') }}{{ 'a'.rpartition('-') }}",
        &[],
        "('a-b', '-', 'c')('', '', 'a')",
    );
    check(
        "{{ ' a b  c '.rsplit(none, 1) }}{{ 'a b  c'.rsplit(' ', 1) }}",
        &[],
        "[' a b', 'c']['a b ', 'c']",
    );
    check("{{ ' a b '.rsplit() }}{{ 'a,b'.split(sep=',') }}", &[], "['a', 'b']['a', 'b']");
    check(
        "{{ 'a b c'.split(maxsplit=1) }}{{ 'a,b,c'.rsplit(',', maxsplit=1) }}",
        &[],
        "['a', 'b c']['a,b', 'c']",
    );
    check("{{ 'x.json'.removesuffix('.json') }}{{ 'x'.removeprefix('y') }}", &[], "xx");
    check("{{ 'été'.index('t') }}{{ 'aba'.rindex('a') }}{{ [3, 1].index(1) }}", &[], "121");
    check("{{ '-7'.zfill(4) }}|{{ 'ab'.ljust(4, '.') }}|{{ 'é'.rjust(3) }}", &[], "-007|ab..|  é");
    check("{{ {'a': 1}.copy() }}{{ 'x'|int }}{{ '3.7'|int }}{{ 'x'|int(7) }}", &[], "{'a': 1}037");
    check(
        "{{ none is iterable }} {{ 'a' is sequence }} {{ {} is sequence }}",
        &[],
        "False True True",
    );
    for template in
        ["{{ 'a'.translate({}) }}", "{{ 'a'|wordwrap }}", "{{ cycler(1) }}", "{{ 1 is callable }}"]
    {
        let name = ["translate", "wordwrap", "cycler", "callable"]
            .into_iter()
            .find(|name| template.contains(name))
            .unwrap();
        let error = error_of(template).to_string();
        assert!(error.contains(name) && error.contains("unknown"), "{error}");
    }
    for template in ["{{ ''.rjust(99999999) }}", "{{ ''.zfill(99999999) }}", "{{ 'a'.index('b') }}"]
    {
        assert!(matches!(error_of(template), ChatError::Failed { .. }), "{template}");
    }
}

#[test]
fn errors_name_the_line() {
    let error = error_of("a\nb {% if %}\n");
    assert!(matches!(error, ChatError::Syntax { line: 2, .. }), "{error}");
    let error = error_of("a\n\n{{ messages.nonesuch.x }}");
    assert!(matches!(error, ChatError::Failed { line: 3, .. }), "{error}");
    let error = error_of("{{ 'x'|nonesuch }}").to_string();
    assert!(error.contains("line 1") && error.contains("nonesuch"), "{error}");
}

/// Fails unless the template ends in an error, soon.
fn check_stopped(template: &str) {
    let start = Instant::now();
    let error = error_of(template);
    let head: String = template.chars().take(60).collect();
    assert!(start.elapsed().as_secs() < 20, "{head}: {error}");
}

#[test]
fn endless_templates_are_stopped() {
    let endless = [
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for a in range(10**9) %}x{% endfor %}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% set s = 'x' * 9999999 %}{% for i in range(9999) %}{{ s.isalpha() }}{% endfor %}",
        "{% include 'chat_template' %}",
        "{% extends 'chat_template' %}",
    ];
    endless.into_iter().for_each(check_stopped);
}

#[test]
fn templates_that_grow_are_stopped() {
    let growing = [
        "{% set n = namespace(a='x') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
        "{{ 'x' * 10**9 }}",
        "{{ '%0999999999d'|format(1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
        "{{ (['x' * 99999] * 99999)|join }}",
        "{{ 'x'.join(['x' * 99999] * 99999) }}",
    ];
    growing.into_iter().for_each(check_stopped);
    let doubled = "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}";
    for end in ["{{ n.a|tojson }}", "{{ n.a|string|length }}", "{{ n.a|join }}"] {
        check_stopped(&format!("{doubled}{end}"));
    }
}

#[test]
fn deep_nesting_is_no_danger() {
    let nest =
        "{% set n = namespace(a=[]) %}{% for i in range(90000) %}{% set n.a = [n.a] %}{% endfor %}";
    check_stopped(&format!("{nest}{{{{ n.a|tojson }}}}"));
    check_stopped(&format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)));
    check_stopped(&format!("{{{{ {}nonesuch() }}}}", "not ".repeat(60_000)));
    check_stopped(&format!("{{{{ 1{}|nonesuch }}}}", "|abs".repeat(60_000)));
    check_stopped(&format!("{{{{ 1{}|nonesuch }}}}", " + 1".repeat(60_000)));
    check_stopped(&"{% if true %}".repeat(15_000));
    check_stopped(&" ".repeat(1_000_000));
}

#[test]
fn long_conversations_are_not_stopped() {
    let turn = "Word after word after word. ".repeat(40);
    let turns: Vec<_> = (0..1000)
        .map(|i| Message::new(if i % 2 == 0 { "user" } else { "assistant" }, &turn))
        .collect();
    for template in [SMOLLM2, LLAMA3, QWEN, GEMMA, MISTRAL] {
        let template = ChatTemplate::new(template, "", "").unwrap();
        assert!(template.render(&turns, &Tools::default(), true).unwrap().len() > 1_000_000);
    }
    let template = ChatTemplate::new(SMOLLM2, "", "").unwrap();
    let long = Message::new("user", &"x".repeat(10_000_000));
    assert!(template.render(&[long], &Tools::default(), true).unwrap().len() > 10_000_000);
}

#[test]
fn constructs_of_real_templates_render_as_in_python() {
    let golden = include_str!("../../../tests/golden/chat_templates.json");
    let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let name = text(&case["template"]);
        let template =
            ChatTemplate::new(&text(&golden["templates"][&name]), "<bos>", "<eos>").unwrap();
        let messages = Message::from_json(&text(&case["messages"])).unwrap();
        let tools = case["tools"].as_str().map(|json| Tools::from_json(json).unwrap());
        let tools = tools.unwrap_or_default();
        let rendered = template.render(&messages, &tools, case["add_generation_prompt"] == true);
        if rendered.as_deref() != Ok(text(&case["text"]).as_str()) {
            wrong.push(format!("{name}:\n{rendered:?}\ninstead of\n{:?}", text(&case["text"])));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
