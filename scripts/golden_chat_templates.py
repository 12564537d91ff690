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
CONVERSATIONS = [TURNS, TURNS[1:2], TURNS[1:]]

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
}


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def main():
    engine = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    engine.filters["tojson"] = tojson
    engine.globals["raise_exception"] = raise_exception
    cases = []
    for name, source in TEMPLATES.items():
        template = engine.from_string(source)
        for messages in CONVERSATIONS:
            for prompt in (False, True):
                text = template.render(
                    messages=messages, tools=None, documents=None, add_generation_prompt=prompt,
                    bos_token="<bos>", eos_token="<eos>",
                )
                case = {"template": name, "messages": messages, "add_generation_prompt": prompt, "text": text}
                cases.append(case)
    how = "Python's jinja2 3.1.6 set up as transformers sets it up: see scripts/golden_chat_templates.py"
    with open(sys.argv[1], "w") as file:
        json.dump({"how": how, "templates": TEMPLATES, "cases": cases}, file, indent=1)
        file.write("\n")


main()
