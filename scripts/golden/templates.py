"""templates.json: chat templates with what those of today's families use, and what transformers renders of them.

The templates are our own, written after what the families' templates do: Qwen 3's thinking that can be switched off,
Gemma's system message inside the first user turn, Mistral's alternating turns with tools before the last, Phi's tags,
Llama 3's date, and macros.
"""

import datetime
import pathlib

import jinja2
from transformers.utils import chat_template_utils

import output
from prompts import assistant, system, user

NOW = datetime.datetime(2025, 2, 3, 4, 5, 6)

QWEN3 = """{%- set ns = namespace(last_query=messages|length - 1, searching=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson ~ "\\n" }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content, thought = message.content, '' %}
        {%- if '</think>' in message.content %}
            {%- set thought = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query and (loop.last or thought) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else "") + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\\n' }}
{%- endif -%}"""
MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate, found " ~ message.role) }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == (loop_messages | selectattr("role", "equalto", "user") | list)[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {{- '{"name": ' + tool.function.name | tojson + ', "arguments": {' }}
                {%- for key, value in tool.function.parameters.items() if key != "secret" %}
                    {{- '"' + key + '": ' + value | tojson + (", " if not loop.last else "") }}
                {%- endfor %}
                {{- "}}" + (", " if not loop.last else "") }}
            {%- endfor %}
            {{- "][/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] | trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}"""
PHI = """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] in ['user', 'assistant'] %}{{'<|' + message['role'] + '|>
' + message['content'] + '<|end|>
'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% else %}{{ eos_token }}{% endif %}"""
DATED = """{%- macro turn(role, text) -%}
<|start_header_id|>{{ role | upper }}<|end_header_id|>

{{ text }}<|eot_id|>
{%- endmacro %}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{{- bos_token }}
{{- turn("system", "Today: " ~ date_string ~ "\\n" ~ (messages | map(attribute="role") | unique | join(","))) }}
{%- for m in messages if m.role != "system" %}
{{- turn(m["role"], m.content.replace("\\t", "    ")[:40] | replace("The", "the") | capitalize) }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{% endif %}
{%- set numbers = [3, 1, 2] | sort %}{{ numbers }} {{ numbers | sum }} {{ "%05.1f" | format(3.14159) }} {{ 7 // 2 }} {{ 7 / 2 }} {{ -7 % 3 }} {{ 2 ** 5 }}
{%- for key, value in {"b": true, "a": none} | dictsort %} {{ key }}={{ value }}{{ ";" if not loop.last }}{% endfor %}
{%- filter upper %} done {% endfilter %}{{ "x" ~ 1 ~ none ~ 1.0 }} {{ " a b ".split() }}"""

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "of <a> city", "parameters": {"city": "Öln", "secret": 1, "days": 2.0}}},
    {"type": "function", "function": {"name": "t\"x", "description": None, "parameters": {}}},
]
CHATS = [
    ("one", [user("Hi")], True),
    ("system", [system("Be brief."), user("  Hi there \n")], True),
    ("turns", [user("a\tb"), assistant("<think>\nhm\n</think>\n\nthe answer"), user("and the other?")], True),
    ("closed", [user("1+1?"), assistant("<think>\nsum\n</think>\n\n2 ")], False),
    ("thought last", [system("s"), user("q"), assistant("a"), user("<tool_response>x</tool_response>"), assistant("<think>\n\n</think>\n\nz")], False),
    ("two users", [user("a"), user("b")], True),
    ("assistant first", [assistant("a"), user("b")], True),
    ("empty", [system(""), user("")], True),
]
ARGUMENTS = [{}, {"enable_thinking": False}, {"enable_thinking": True, "date_string": "1 May"}]
TEMPLATES = {"qwen3": QWEN3, "gemma": GEMMA, "mistral": MISTRAL, "phi": PHI, "dated": DATED}


def render(template, messages: list[dict], opens_turn: bool, tools, arguments: dict) -> dict:
    """What the template makes of a conversation: a text, or a refusal."""
    try:
        text = template.render(
            messages=messages,
            tools=tools,
            documents=None,
            add_generation_prompt=opens_turn,
            bos_token="<s>",
            eos_token="</s>",
            strftime_now=NOW.strftime,
            **arguments,
        )
    except jinja2.exceptions.TemplateError as error:
        return {"raises": str(error)}
    return {"rendered": text}


def write(out: pathlib.Path) -> None:
    """Renders every conversation with every template."""
    cases = []
    for name, source in TEMPLATES.items():
        template = chat_template_utils._compile_jinja_template(source)
        for chat, messages, opens_turn in CHATS:
            for tools in (None, TOOLS):
                for arguments in ARGUMENTS:
                    case = {"template": name, "chat": chat, "messages": messages, "add_generation_prompt": opens_turn}
                    if tools is not None:
                        case["tools"] = tools
                    if arguments:
                        case["arguments"] = arguments
                    cases.append(case | render(template, messages, opens_turn, tools, arguments))
    header = {
        "format": "templates/1",
        "reference": f"jinja2 {jinja2.__version__} as transformers sets it up",
        "now_unix_seconds": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()),
        "templates": TEMPLATES,
    }
    output.write_json(out / "templates.json", header, "cases", cases)
