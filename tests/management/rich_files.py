"""Configuration files as people write them: comments everywhere, every style of YAML, keys nobody knows."""

from __future__ import annotations

BLOCK = """\
# ---- my daemon ----   (since 2024)

debug: false            # noise off
logging-to-file: false
logs-max-total-size-mb: 100 # MB
error-logs-max-files: 10
usage-statistics-enabled: false
proxy-url: "direct"   # no proxy
request-log: false
ws-auth: false
request-retry: 3
max-retry-credentials: 2
max-retry-interval: 30
force-model-prefix: false   # later

# a key of a future release
future-key:
  - {a: 1, b: [x, y]}   # kept

quota-exceeded:
  # both on
  switch-project: true
  switch-preview-model: true # preview

routing:
  strategy: 'round-robin'   # or fill-first

# who may ask
api-keys:
  # the laptop
  - "key-one"      # mine
  - key-two        # hers
  # the agent, with limits
  - key: key-three
    name: agent    # named

gemini-api-key:
  # first account
  - api-key: g-one     # private
    prefix: 'team'
    future-member: {x: 1}   # kept
    headers:
      X-Team: "a"      # ours
    models:
      # the big one
      - name: gemini-2.5-pro
        alias: big     # short
        future: yes
  # second account
  - api-key: g-two

claude-api-key:
  # the only one
  - api-key: "c-one"   # work
    base-url: https://claude.example   # gateway
    models:
      - name: claude-sonnet-4-5   # daily
        alias: sonnet
    excluded-models:
      # too dear
      - claude-opus-*
  - api-key: c-two

codex-api-key:
  - api-key: x-one
    base-url: https://codex.example/v1  # theirs
  # spare
  - api-key: x-two
    base-url: https://codex.example/v2

vertex-api-key:
  # Google
  - api-key: v-one    # one
    base-url: https://vertex.example
  - api-key: v-two    # two
    base-url: https://vertex.example

openai-compatibility:
  # the machine under the desk
  - name: desk        # llama
    base-url: http://127.0.0.1:9/v1
    api-key-entries:
      - api-key: d-one   # only one
    models:
      # small
      - name: llama
        alias: local     # quick
  # a paid one
  - name: paid
    base-url: https://paid.example/v1
    api-key-entries:
      - api-key: p-one

oauth-excluded-models:
  # cheap plan
  claude:
    - claude-opus-*   # not in the plan
  codex: [gpt-5.4]

oauth-model-alias:
  # names for editors
  codex:
    - name: gpt-5.4     # big
      alias: five

oauth-request-scoped-errors:
  codex:
    # their own words
    - status: 400   # bad request
      action: stop

prompt-rules:
  # manners
  - name: brief       # short answers
    enabled: true
    target: system
    action: inject
    content: |
      Be brief.   # not a comment
      Be kind.
  # cleaning
  - name: clean
    enabled: true
    target: user
    action: strip
    pattern: 'foo+'   # noise

model-routes:
  # first the cheap one
  - alias: any        # for scripts
    strategy: priority
    models: [local, big]

ampcode:
  # not used
  upstream-url: ""      # none
  upstream-api-key: ''
  restrict-management-to-localhost: true
  force-model-mappings: false
  model-mappings:
    # slow ones
    - from: a   # from
      to: b
  upstream-api-keys:
    - upstream-api-key: u-one   # team
      api-keys: [key-one]

# ---- the end ----
"""

ODD = """\
# odd indentation, all of it right
api-keys:
- key-one   # not indented
- key-two
gemini-api-key:
      -   api-key: g-one    # wide
          prefix:    team
      -   api-key: g-two
claude-api-key:
 - api-key: c-one   # one blank

   base-url: https://claude.example
   # in between
   excluded-models:
   - claude-opus-*   # level
 - api-key: c-two
codex-api-key:
    -
      # on its own line
      api-key: x-one
      base-url: https://codex.example/v1
    -
      api-key: x-two
      base-url: https://codex.example/v2
vertex-api-key:
    - api-key: v-one
      base-url: https://vertex.example
    - api-key: v-two
      base-url: https://vertex.example
openai-compatibility:
- name: desk
  base-url: http://127.0.0.1:9/v1
  api-key-entries:
  - api-key: d-one
  models:
     - name: llama
       alias: local
- name: paid
  base-url: https://paid.example/v1
routing:
       strategy: round-robin   # far right
oauth-excluded-models:
      claude:
      - claude-opus-*
      codex:
      - gpt-5.4
oauth-model-alias:
   codex:
      - name: gpt-5.4
        alias: five
oauth-request-scoped-errors:
   codex:
   - status: 400
     action: stop
prompt-rules:
   - name: brief
     enabled: true
     target: system
     action: inject
     content: >-
        Be brief
        always.
   - name: clean
     target: user
     action: strip
     pattern: foo+
model-routes:
    - alias: any
      models:
      - local
      - big
ampcode:
    model-mappings:
    - from: a
      to: b
    upstream-api-keys:
         - upstream-api-key: u-one
           api-keys:
           - key-one
quota-exceeded:
    switch-project: true

debug:     false
# the end
"""

FLOW = """\
# flow style
api-keys: [key-one, "key-two", {key: key-three, name: agent}]   # three
gemini-api-key: [{api-key: g-one, prefix: team, headers: {X-Team: a}}, {api-key: g-two}]
claude-api-key:
  - {api-key: c-one, base-url: 'https://claude.example', excluded-models: [claude-opus-*]}   # work
  - {api-key: c-two}
codex-api-key: [
  {api-key: x-one, base-url: "https://codex.example/v1"},   # first
  {api-key: x-two, base-url: "https://codex.example/v2"}    # second
]
vertex-api-key: [{api-key: v-one, base-url: "https://vertex.example"},
                 {api-key: v-two, base-url: "https://vertex.example"}]
openai-compatibility:
  - {name: desk, base-url: 'http://127.0.0.1:9/v1', api-key-entries: [{api-key: d-one}], models: [{name: llama}]}
  - {name: paid, base-url: 'https://paid.example/v1'}
routing: {strategy: round-robin}   # one line
quota-exceeded: {switch-project: true, switch-preview-model: true}
oauth-excluded-models: {claude: [claude-opus-*], codex: [gpt-5.4]}
oauth-model-alias: {codex: [{name: gpt-5.4, alias: five}]}
oauth-request-scoped-errors: {codex: [{status: 400, action: stop}]}
prompt-rules: [{name: brief, enabled: true, target: system, action: inject, content: "Be brief."},
  {name: clean, target: user, action: strip, pattern: foo+}]
model-routes: [{alias: any, models: [local, big]}]
ampcode: {model-mappings: [{from: a, to: b}], upstream-api-keys: [{upstream-api-key: u-one, api-keys: [key-one]}]}
debug: false   # off
# the end
"""

ANCHORS = """\
# said once, used twice
future-key: &gateway https://claude.example   # the gateway
future-headers: &headers {X-Team: a}
api-keys: [key-one, key-two]
gemini-api-key:
  - api-key: g-one
    headers: *headers   # the team's
  - api-key: g-two
claude-api-key:
  - api-key: c-one
    base-url: *gateway
  - api-key: c-two
    base-url: *gateway    # the same
codex-api-key:
  - &codex
    api-key: x-one
    base-url: https://codex.example/v1
  - <<: *codex
    api-key: x-two   # the same otherwise
vertex-api-key:
  - {api-key: v-one, base-url: 'https://vertex.example'}
  - {api-key: v-two, base-url: 'https://vertex.example'}
openai-compatibility:
  - name: desk
    base-url: http://127.0.0.1:9/v1
    headers: *headers
  - name: paid
    base-url: https://paid.example/v1
debug: false
# the end
"""

FILES = {
    "block": BLOCK,
    "odd indentation": ODD,
    "flow style": FLOW,
    "anchors": ANCHORS,
    "CRLF": BLOCK.replace("\n", "\r\n"),
    "no newline at the end": FLOW.rstrip("\n"),
}
