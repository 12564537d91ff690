#!/usr/bin/env python3
"""Makes tests/golden/chat_templates.json: compact templates with the constructs of models' own, and
what Python's jinja2 makes of them, set up as Hugging Face transformers sets it up.

    pip install jinja2==3.1.6
    scripts/golden_chat_templates.py tests/golden/chat_templates.json
"""

import json
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

TURNS = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Hi <b>&'\"\n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYo, été "},
    {"role": "user", "content": "And then?"},
]
TOOLS = [
    {"type": "function", "function": {
        "name": "weather", "description": "Weather at a <place>, \"today\"\nor later",
        "parameters": {"type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "description": "Köln, 東京 or 😀"},
            "days": {"type": "integer", "minimum": 1, "default": 3},
            "exact": {"type": "number", "default": 1.0, "minimum": 1e-07, "maximum": 1e16},
            "units": {"type": "array", "items": {"type": "string", "enum": ["C", "F"]}},
        }},
    }},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
CALLED = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call00001", "type": "function", "function": {
            "name": "weather", "arguments": {"place": "Köln", "exact": 0.5, "days": 2, "raw": [None, True]}}},
        {"id": "call00002", "type": "function", "function": {"name": "now", "arguments": {}}},
    ]},
    {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "{\"sky\": \"blau\"}"},
    {"role": "tool", "name": "now", "tool_call_id": "call00002", "content": "noon"},
    {"role": "assistant", "content": "Blue.", "reasoning_content": "It says so."},
    {"role": "user", "content": "Thanks"},
]
# Messages with the tools, or none. Templates that know no tools are given the first.
PLAIN = [(TURNS, None), (TURNS[1:2], None), (TURNS[1:], None)]
CALLING = [
    (TURNS[:2], TOOLS), (CALLED[:4], TOOLS), (TURNS[:1] + CALLED, TOOLS), (CALLED, None),
]

TEMPLATES = {
    # Gemma 3: the system message is folded into the first user turn.
    "folded system": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
""",
    # Qwen 3: a namespace, the messages backwards, thinking cut off.
    "thinking": """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '[' ~ reasoning_content ~ ']<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
""",
    # Llama 3.1: definitions with defaults, JSON, slices.
    "definitions": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    # Mistral: filters by attribute, a loop that counts, strict alternation.
    "filters": """{%- set users = messages | selectattr("role", "equalto", "user") | list -%}
{%- set ns = namespace(index=0) -%}
{{ bos_token }}{{ users | length }} {{ (users | last)["content"] }} {{ messages | map(attribute="role") | join(",") }}
{%- for message in messages if message["role"] != "system" %}
    {%- if ns.index > 9 %}{% break %}{% endif %}
    {%- if message["role"] == "user" and message == users[-1] %}{{- " [LAST]" }}{% continue %}{% endif %}
    {%- set ns.index = ns.index + 1 %}
    {{- "[" ~ ns.index ~ "] " ~ message["content"] | replace("\\n", " ") | upper ~ eos_token }}
{%- endfor %}
""",
    # Granite, Phi-4: macros, loops over items, JSON.
    "macros and JSON": """{%- macro turn(role, text='', end='<|end|>') -%}
    {{- '<|' + role + '|>' + text + end -}}
{%- endmacro -%}
{%- set tools = [{"type": "function", "function": {"name": "f", "parameters": {"b": [1, 2.5, true, none], "a": {"é": "<&'>"}}}}] -%}
{{ tools | tojson }}
{{ tools[0] | tojson(indent=4) }}
{% for key, value in tools[0].function.items() %}{{ key }}={{ value | tojson if value is mapping else value }};{% endfor %}
{% for message in messages %}
{{ turn(message.role, message.content.strip().title() if loop.first else message.content[:3]) }}
{% endfor %}
{%- if add_generation_prompt -%}{{ turn('assistant', end='') }}{%- endif %}
{{ messages | tojson }} {{ [3, 1, 2] | sort | join('-') }} {{ 'x' if missing else 'y' }} {{ missing | default('d') }} {{ 7 // 2 }} {{ 'a,b'.split(',') | length }}
""",
    # Qwen 2.5 and 3, Hermes: definitions in the system message, calls and results as JSON in marks.
    "tools as JSON": """{%- if tools is iterable and tools | length > 0 %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- '<|im_start|>assistant' }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for call in message.tool_calls %}
            {%- if call.function is defined %}{%- set call = call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.previtem is not defined or loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- elif message.role != 'system' or not tools %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if message.reasoning_content %}{{- '<think>' ~ message.reasoning_content ~ '</think>' }}{%- endif %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
""",
    # Functionary, GigaChat, gpt-oss: definitions as types, written by macros that call one another.
    "tools as types": """{%- macro kind(spec) -%}
    {%- if spec.type == 'array' -%}{{ kind(spec['items']) }}[]
    {%- elif spec.enum is defined -%}{{ spec.enum | map('tojson') | join(' | ') }}
    {%- else -%}{{ {'integer': 'number', 'number': 'number'}.get(spec.type, spec.type) }}
    {%- endif -%}
{%- endmacro -%}
{%- for tool in tools or [] %}
// {{ tool.function.description | default('no description') | indent(3) }}
type {{ tool.function.name.ljust(8) }} = (_: {
{%- for name, spec in tool.function.parameters.properties | dictsort %}
{% if spec.minimum is defined %}  // from {{ spec.minimum }}
{% endif %}
  {{ name }}{{ '' if name in tool.function.parameters.required else '?' }}: {{ kind(spec) }},
{%- if spec.default is defined %} // {{ spec.default }}{% endif %}
{%- endfor %}
}) => any;
{% endfor %}
{%- for message in messages %}
    {%- set content = message['content'] if message['content'] is string else '' %}
    {{- '[' ~ loop.index ~ '/' ~ loop.length ~ ' ' ~ message.role.rjust(9, '.') ~ '] ' ~ content.rsplit(' ', maxsplit=1)[-1] }}
    {%- for call in message.get('tool_calls') or [] %}
        {{- call.id.removeprefix('call').zfill(7) ~ ':' ~ call.function.name.partition('a')[0] ~ '(' }}
        {%- for key, value in call.function.arguments.items() %}{{- key ~ '=' ~ value | string }}{{- ', ' if not loop.last }}{%- endfor %}
        {{- ')' }}
    {%- endfor %}
{% endfor %}
""",
    # Reka, Kimi, Granite: every way to ask for JSON. Lines end as on Windows.
    "JSON options": """{% if tools %}\r
{{ tools | tojson(indent=2) }}\r
{{ tools | tojson(separators=(',', ':'), sort_keys=True) }}\r
{{ tools | tojson(ensure_ascii=True) }}\r
{% endif %}\r
{{ [1.0, 1e-07, 1e16, 0.1, 123456789012, none, true, {}, [], "\\u007f\\u2028"] | tojson }}\r
{{ {2: 'b', 1: 'a'} | tojson(sort_keys=true, indent=1) }} {{ 1e16 }} {{ 1.5e-05 }}\r
{% generation %}{% for m in messages if m.content is string %}{{ m | tojson(indent=none) }}\r
{% endfor %}{% endgeneration %}
""",
}


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Generation(jinja2.ext.Extension):
    """The marks around what the assistant said, which change nothing in the text."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

    def said(self, caller):
        return caller()


def with_reasoning(message):
    """Reasoning under both names that templates read, as transformers fills them."""
    reasoning = message.get("reasoning_content")
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


def as_json(value):
    return json.dumps(value, ensure_ascii=False)


def main():
    engine = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation])
    engine.filters["tojson"] = tojson
    engine.globals["raise_exception"] = raise_exception
    cases = []
    for name, source in TEMPLATES.items():
        template = engine.from_string(source)
        for messages, tools in PLAIN + (CALLING if "tools" in name or "options" in name else []):
            for prompt in (False, True):
                text = template.render(
                    messages=[with_reasoning(message) for message in messages], tools=tools, documents=None, add_generation_prompt=prompt,
                    bos_token="<bos>", eos_token="<eos>",
                )
                # JSON as text, whose order is part of the case.
                case = {
                    "template": name, "messages": as_json(messages), "tools": tools and as_json(tools),
                    "add_generation_prompt": prompt, "text": text,
                }
                cases.append(case)
    how = "Python's jinja2 3.1.6 set up as transformers sets it up: see scripts/golden_chat_templates.py"
    with open(sys.argv[1], "w") as file:
        json.dump({"how": how, "templates": TEMPLATES, "cases": cases}, file, indent=1)
        file.write("\n")


main()
