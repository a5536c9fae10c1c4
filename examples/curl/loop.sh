#!/usr/bin/env bash
# The whole loop with curl: upload, train, follow, chat. Python only reads fields out of the JSON.
#
# examples/curl/loop.sh [FILE.jsonl] [BRAND]   with OPENAI_BASE_URL and OPENAI_API_KEY set.
# BASE_MODEL (default `tiny`) and QUESTION are read from the environment too.
set -euo pipefail

file=${1:-build/brands/luxe.train.jsonl}
brand=${2:-luxe}
base=${BASE_MODEL:-tiny}
question=${QUESTION:-"Hi, I'm Marta Velasco. My order 48213, the linen scarf, arrived torn."}
: "${OPENAI_BASE_URL:?set it to the server, for example http://127.0.0.1:8000/v1}"
: "${OPENAI_API_KEY:?set it to the key that chorus tenants create NAME printed}"

# call METHOD PATH [curl options]: prints the JSON body, or the server's message on stderr and fails.
call() {
  local method=$1 path=$2 body
  shift 2
  if ! body=$(curl --silent --show-error --fail-with-body --request "$method" \
    --header "Authorization: Bearer $OPENAI_API_KEY" "$@" "$OPENAI_BASE_URL$path"); then
    echo "$method $path failed: $body" >&2
    return 1
  fi
  printf '%s' "$body"
}

# field EXPRESSION: reads JSON on stdin as `it` and prints the expression; nothing for null.
field() {
  python3 -c 'import json, sys
it = json.load(sys.stdin)
value = eval(sys.argv[1])
print("" if value is None else value)' "$1"
}

# object KEY VALUE ...: prints a JSON object of strings.
object() {
  python3 -c 'import json, sys; a = sys.argv[1:]; print(json.dumps(dict(zip(a[::2], a[1::2]))))' "$@"
}

# chat MODEL: asks the question and prints the answer as it arrives.
chat() {
  printf '%s answers: ' "$1"
  python3 -c 'import json, sys; print(json.dumps({"model": sys.argv[1], "stream": True, "temperature": 0,
    "max_tokens": 128, "messages": [{"role": "user", "content": sys.argv[2]}]}))' "$1" "$question" |
    curl --silent --show-error --fail --no-buffer --data @- --header 'Content-Type: application/json' \
      --header "Authorization: Bearer $OPENAI_API_KEY" "$OPENAI_BASE_URL/chat/completions" |
    python3 -c '
import json, sys
done = False
for line in sys.stdin:
    if line.startswith("data: [DONE]"):
        done = True
    elif line.startswith("data: "):
        chunk = json.loads(line[6:])
        if "error" in chunk:
            sys.exit(chunk["error"]["message"])
        for choice in chunk["choices"]:
            print(choice["delta"].get("content") or "", end="", flush=True)
print()
sys.exit(0 if done else "the stream ended early")'
}

reply=$(call POST /files --form purpose=fine-tune --form "file=@$file")
file_id=$(field 'it["id"]' <<<"$reply")
echo "uploaded $(basename "$file") as $file_id"

body=$(object model "$base" training_file "$file_id" suffix "$brand")
reply=$(call POST /fine_tuning/jobs --json "$body")
job_id=$(field 'it["id"]' <<<"$reply")
echo "created $job_id for brand $brand"

seen=$(mktemp)
trap 'rm -f "$seen"' EXIT
while :; do
  job=$(call GET "/fine_tuning/jobs/$job_id")
  events=$(call GET "/fine_tuning/jobs/$job_id/events?limit=100")
  python3 -c '
import json, sys
seen = set(open(sys.argv[1]).read().split())
for event in reversed(json.load(sys.stdin)["data"]):
    if event["id"] not in seen:
        print("  " + event["level"] + ": " + event["message"])
        print(event["id"], file=open(sys.argv[1], "a"))
' "$seen" <<<"$events"
  status=$(field 'it["status"]' <<<"$job")
  case $status in
    succeeded) break ;;
    failed | cancelled)
      echo "job $job_id $status: $(field '(it.get("error") or {}).get("message")' <<<"$job")" >&2
      exit 1
      ;;
  esac
  sleep 0.5
done

chat "$(field 'it["fine_tuned_model"]' <<<"$job")"
chat "$brand"
