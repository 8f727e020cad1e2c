"""Writes chat_templates.json: renderings by jinja2, set up exactly as transformers sets it up for chat templates.

    python tests/goldens/write_chat_template_goldens.py        (needs transformers and jinja2 3.1)
"""
import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

# The templates as their models publish them.
LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""
LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
LLAMA32 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message #}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You have access to the following functions. To call a function, please respond with JSON for a function call." }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{#- Custom tools are passed in a user message with some extra guidance #}
{%- if tools_in_user_message and not tools is none %}
    {#- Extract the first user message so we can plug it in here #}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- "Given the following functions, please respond with a JSON for a function call " }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
QWEN2 = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
QWEN25 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with function signatures within <tools></tools> XML tags:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
MISTRAL = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
CHATML = """{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
SMOLLM2 = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
TEMPLATES = {"llama2": LLAMA2, "llama3": LLAMA3, "llama3.2": LLAMA32, "qwen2": QWEN2, "qwen2.5": QWEN25, "mistral": MISTRAL,
             "zephyr": ZEPHYR, "chatml": CHATML, "smollm2": SMOLLM2}

CHATS = [
    [{"role": "user", "content": "Hi there!"}],
    [{"role": "user", "content": " 2+2? \n"}, {"role": "assistant", "content": "4 — четыре 😀"}, {"role": "user", "content": "\"Why\" <b>&'"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi.\n"}],
    [{"role": "assistant", "content": "out of turn"}],
    [],
]
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather\nof a \"city\"", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1.5}}, "required": ["city"], "x": [], "y": {}}}}
TOOL_CHAT = [{"role": "user", "content": "Weather in Zürich?"},
             {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2}}}]},
             {"role": "tool", "content": "sunny"}, {"role": "assistant", "content": "It is sunny."}]

CASES = [
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1e20 }} {{ 1.0 }} {{ 1e-7 }} {{ 0.1 + 0.2 }}",
    "{{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'x', none, 1.0, (1,), {'k': \"it's\"}] }}",
    "{{ 'ab' * 3 }}{{ [1] * 2 }}{{ [1] + [2, 3] }}{{ true + 1 }}{{ (1, 2) + (3,) }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'cat' }} {{ 'k' in {'k': 1} }} {{ 4 not in [1, 2] }} {{ 1 == 1.0 }} {{ true == 1 }} {{ [1] == [1] }} {{ (1,) == [1] }} {{ 'a' < 'b' }}",
    "{{ not true }} {{ true and 'x' }} {{ '' or 'y' }} {{ 'yes' if 0 else 'no' }}[{{ 'never' if false }}]",
    "{{ 'hello'[1] }} {{ 'hello'[-1] }} {{ 'hello'[1:3] }} {{ 'hello'[::-1] }} {{ [1, 2, 3, 4][::2] }} {{ [1, 2, 3][-2:] }} {{ 'naïve😀'[3:] }} {{ [1,2,3][5:] }} {{ [1,2,3][:-1] }}",
    "{{ missing }}|{{ missing is defined }}|{{ missing|default('d') }}|{{ ''|default('e', true) }}|{{ missing or 'f' }}|{{ missing|length }}|{% for x in missing %}never{% else %}empty{% endfor %}",
    "{% for x in [3, 1, 2] %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }};{% endfor %}",
    "{% for x in range(10) if x % 2 %}{{ x }}/{{ loop.length }} {% endfor %}",
    "{% for k, v in {'a': 1, 'b': [2]}.items() %}{{ k }}={{ v }} {% endfor %}{% for k in {'z': 1, 'y': 2} %}{{ k }}{% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(n=0, s='') %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.n }} {{ ns.s }} {{ ns['n'] }} {{ ns.none is defined }}",
    "{% set a, b = 1, [2, 3] %}{{ a }}{{ b }}{% set text %}block {{ a }}{% endset %}[{{ text }}]{% set up | upper %}loud{% endset %}{{ up }}",
    "{% macro greet(name, mark='!') %}Hi {{ name }}{{ mark }}{% endmacro %}{{ greet('Bo') }} {{ greet('Al', mark='?') }} {{ greet(name='Cy') }}[{{ greet() }}]",
    "{% macro outer() %}{{ later }}{% endmacro %}{% set later = 'seen' %}{{ outer() }}{% for i in [1] %}{% macro inner() %}{{ i }}{{ later }}{% endmacro %}{{ inner() }}{% endfor %}",
    "{% macro fact(n) %}{{ 1 if n <= 1 else n * (fact(n - 1) | int) }}{% endmacro %}{{ fact(5) }}",
    "{% with a = 1, b = 'x' %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}{% filter upper | trim %}  shout {% endfilter %}",
    "{% generation %}said{% endgeneration %}{% raw %}{{ raw }} {% x %}{% endraw %}{# comment #}end",
    "{{ '  x '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ 'hello wORLD-foo (bar) it\\'s'|title }}|{{ 'hELLO'|capitalize }}|{{ 'éa'|upper }}|{{ 'ÀB'|lower }}",
    "{{ [1, 2, 3]|join(', ') }} {{ [{'n': 1}, {'n': 2}]|join('-', attribute='n') }} {{ [1, 2]|first }} {{ [1, 2]|last }} {{ 'ab'|list }} {{ [3, 1]|sort }} {{ ['b', 'A', 'a', 'B']|sort }} {{ ['b', 'A', 'a']|unique|list }} {{ [1, 2]|reverse|list }} {{ 'abc'|reverse }}",
    "{{ '42'|int }} {{ 'x'|int }} {{ 'x'|int(-1) }} {{ '3.9'|int }} {{ 3.9|int }} {{ '1.5'|float }} {{ 'x'|float }} {{ -3|abs }} {{ 2.567|round(2) }} {{ 2.5|round }} {{ 2.1|round(0, 'ceil') }}",
    "{{ {'b': 1, 'a': 2}|dictsort }} {{ {'b': 1, 'a': 2}|dictsort(by='value') }} {{ {'b': 1}|items|list }} {{ [1, 2, 3]|sum }} {{ [{'v': 1.5}, {'v': 2}]|sum('v') }} {{ [3, 1, 2]|max }} {{ [3, 1, 2]|min }} {{ 'a b  c'|wordcount }}",
    "{{ [{'a': 1}, {'a': 0}, {}]|selectattr('a')|list }} {{ [{'a': 1}, {'a': 2}]|selectattr('a', 'equalto', 2)|list }} {{ [{'a': 1}, {}]|rejectattr('a', 'defined')|list }} {{ [1, 2, 3]|select('odd')|list }} {{ [0, 1, none]|reject|list }}",
    "{{ ['a', 'b']|map('upper')|join }} {{ [{'x': {'y': 1}}]|map(attribute='x.y')|list }} {{ [{}, {'x': 2}]|map(attribute='x', default='-')|list }} {{ ['a ', ' b']|map('trim')|list }} {{ ['1', '2']|map('int')|sum }}",
    "{{ 'line1\\nline2\\n\\nline4'|indent }}|{{ 'a\\nb'|indent(2, first=true) }}|{{ 'a\\n\\nb'|indent(1, false, true) }}|{{ 'a\\nb'|indent('> ') }}",
    "{{ {'a': [1, 2.0, none, true, 'é\"\\\\\\n\\x01/'], 'b': {}, 'c': []}|tojson }} {{ {'b': 1, 'a': [1, {}]}|tojson(indent=2) }} {{ [1, {'z': 1, 'a': 2}]|tojson(separators=(',', ':'), sort_keys=true) }}",
    "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ 'a b c'.split(maxsplit=1) }} {{ 'x</think>y</think>z'.split('</think>')[-1] }} {{ 'a\\r\\nb\\nc'.splitlines() }}",
    "{{ ' x '.strip() }}|{{ ' x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ '\\n\\nx\\n'.strip('\\n') }}|{{ 'xyx'.strip('xz') }}|{{ '\\u00a0\\u3000x'.strip() }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'éabcab'.rfind('ab') }} {{ 'aaa'.count('a') }} {{ 'a-b'.replace('-', '+') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'ab'.replace('', '.') }}",
    "{{ 'hello world'.title() }} {{ \"it's 3d\".title() }} {{ 'HELLO'.capitalize() }} {{ 'a'.upper() }} {{ 'A'.lower() }} {{ '-'.join(['a', 'b']) }} {{ '12'.isdigit() }} {{ 'ab1'.isalpha() }} {{ 'ab1'.isalnum() }} {{ ' '.isspace() }} {{ 'foobar'.removeprefix('foo') }} {{ 'foobar'.removesuffix('bar') }}",
    "{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {{ {'a': 1, 'b': 2}.keys()|list }} {{ {'a': 1}.values()|list }} {{ {'items': 5}['items'] }} {{ {'items': 5}.items is callable }} {{ {'a': {'b': 1}}.a.b }} {{ {'a': 1}.b is undefined }} {{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }}",
    "{{ 1 is number }} {{ 1.0 is float }} {{ true is boolean }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 'a' is string }} {{ [1] is sequence }} {{ {} is mapping }} {{ 'a' is iterable }} {{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ none is none }} {{ 1 is not none }} {{ true is true }} {{ 1 is true }} {{ 'a' is in ['a'] }} {{ 2 is gt 1 }} {{ 1 is sameas 1.0 }} {{ 'ab' is lower }} {{ 'AB' is upper }}",
    "{{ range(3)|list }} {{ range(5, 0, -2)|list }} {{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ \"tab\\there\" }} {{ '\\x41\\u00e9\\101\\q' }} {{ 'a' 'b' }}",
    "  {% if true %}\n    indented\n  {% endif %}\nafter\n   {{ 1 }}\n  {#- c -#}  \n x {%- if true -%}  y  {%- endif %}  z\n{%+ if true %}\n  plus {%+ endif +%}\nend\n\n",
    "{{- 1 -}}  \n  {{ 2 }}\n\n\n{% set x = 3 -%}\n   {{ x }}{{ '\\n' }}  {% for i in [1, 2] %}\n{{ i }}\n  {% endfor %}\nlast",
    "a\r\nb{% if true %}\r\nc{% endif %}\rd",
    "{{ {'a': {'b': {}}} }}{{ {'a': 1,} }}{{ [1,] }}{{ (1) }}{{ () }}{{ 1, 2 }}{{ -2 ** 2 }}{{ 2 + 3 * 4 - 1 }}{{ 10 - 2 - 3 }}{{ 'a' ~ 1 + '2' }}",
    "{{ -1|abs }} {{ (-1)|abs }} {{ 'x'|upper ~ 'y' }} {{ not 1 == 2 }} {{ 1 if true else 2 if false else 3 }} {{ 'a' is string and 'b' is string }} {{ 'a,b'.split(',')|length }} {{ messages[0].role }} {{ messages[0]['content']|length }}",
    "{% set c = messages|selectattr('role', 'equalto', 'user')|list %}{{ c|length }}{{ (messages|last).content }}{{ (messages|first)['role'] }}{{ messages[-1].missing }}{{ messages|map(attribute='role')|join(',') }}",
    "{{ '<b>&\"'|e }} {{ '<b>'|safe }} {{ [1, 'a']|string }} {{ 5|string + 'x' }} {{ none|string }} {{ {'a': none}|string }}",
    # what ends in an error
    "{{ missing.x }}", "{{ 1 + 'a' }}", "{{ 1 / 0 }}", "{{ raise_exception('no\nway') }}", "{% for x in 5 %}{% endfor %}", "{{ missing() }}", "{{ missing + 1 }}",
    "{{ [1].append(2) }}", "{{ {}.update({}) }}", "{% set a, b = [1] %}", "{{ 'a' < 1 }}", "{% if %}{% endif %}", "{% if x %}", "{{ 1 ", "{{ x|nofilter }}", "{{ x is notest }}",
    "{% endif %}", "{{ (1 }}", "{% set x.y = 1 %}", "{% unknown %}", "{{ 'open }}", "{# open", "{{ range(1000000) }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}", "{{ missing|tojson }}", "{{ ''.split('') }}", "{{ 3 in 5 }}", "{{ none|length }}", "{{ [] | first | upper }}[{{ [][0] }}]{{ [][0].x }}",
]


def render(template, variables):
    try:
        return {"text": _compile_jinja_template(template).render(**variables)}
    except Exception as error:
        return {"error": type(error).__name__}


def main():
    out = {"templates": [], "cases": []}
    common = {"bos_token": "<s>", "eos_token": "</s>", "date_string": "26 Jul 2024"}
    for name, template in TEMPLATES.items():
        runs = []
        for messages in CHATS + [TOOL_CHAT]:
            for prompt in (False, True):
                tools = [TOOL] if messages is TOOL_CHAT else None
                variables = {**common, "messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt}
                runs.append({"messages": messages, "tools": tools, "add_generation_prompt": prompt, **render(template, variables)})
        out["templates"].append({"name": name, "template": template, "runs": runs})
    for case in CASES:
        out["cases"].append({"template": case, **render(case, {"messages": CHATS[1], "tools": None, "documents": None, "add_generation_prompt": False})})
    file = pathlib.Path(__file__).with_name("chat_templates.json")
    file.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


main()
