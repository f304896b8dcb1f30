#!/usr/bin/env python3
"""Asks a running `polymath serve` through OpenAI's client; see serve.sh."""

import subprocess
import sys
import threading

import openai

PROMPT = "What is the capital of France?"
TOKENS = 24


def generated(program, checkpoint, *arguments):
    command = [program, "generate", checkpoint, "--prompt", PROMPT, "--temperature", "0", "--repetition-penalty", "1",
               "--max-tokens", str(TOKENS), "--quiet", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.removesuffix("\n")


def expect(what, good):
    print(f"{'ok' if good else 'FAILED'}: {what}")
    if not good:
        raise SystemExit(1)


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    return None


def main():
    url, program, checkpoint = sys.argv[1:]
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    expect("the model is listed and found", client.models.retrieve(model).id == model)
    greedy = {"model": model, "temperature": 0, "max_tokens": TOKENS, "extra_body": {"repetition_penalty": 1}}
    messages = [{"role": "user", "content": PROMPT}]

    def ask(**more):
        return client.chat.completions.create(**{"messages": messages, **greedy, **more})

    whole = ask()
    expected = generated(program, checkpoint)
    expect(f"the greedy answer is that of `generate`: {expected!r}", whole.choices[0].message.content == expected)
    expect("tokens are counted", whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens)
    pieces = list(ask(stream=True, stream_options={"include_usage": True}))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    expect(f"the streamed answer is the same, in {len(pieces)} pieces", text == expected and len(pieces) > 3)
    expect("the stream ends with the usage", pieces[-1].usage.completion_tokens == whole.usage.completion_tokens)
    raw = client.completions.create(prompt=PROMPT, **greedy)
    expect("a completion is that of `generate --raw`", raw.choices[0].text == generated(program, checkpoint, "--raw"))
    words = expected.split()
    stopped = ask(stop=[words[-1]]).choices[0]
    expect("a stop text ends the answer", words[-1] not in stopped.message.content and stopped.finish_reason == "stop")

    error = refused(openai.BadRequestError, lambda: ask(n=3))
    expect("`n` is refused by name", error is not None and error.param == "n")
    error = refused(openai.NotFoundError, lambda: ask(model="other"))
    expect("another model is not found", error is not None and error.code == "model_not_found")
    long = [{"role": "user", "content": "river " * 100_000}]
    error = refused(openai.BadRequestError, lambda: ask(messages=long))
    expect("a full context is said", error is not None and error.code == "context_length_exceeded")
    huge = [{"role": "user", "content": "river " * 400_000}]
    error = refused(openai.APIStatusError, lambda: ask(messages=huge))
    expect("a large request is refused", error is not None and error.status_code == 413)

    statuses = []

    def crowd():
        error = refused(openai.APIStatusError, lambda: ask())
        statuses.append(200 if error is None else error.status_code)

    threads = [threading.Thread(target=crowd) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(f"a crowd is answered or told to wait: {sorted(statuses)}", {200, 503} == set(statuses))
    with ask(stream=True, max_tokens=2000) as stream:
        next(iter(stream))
    expect("a client that disconnects does not block others", ask().choices[0].message.content == expected)


if __name__ == "__main__":
    main()
