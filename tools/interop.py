"""The checks of tools/interop.sh, which see. Each compares a `mora` command with a Python tool on the same input."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

MORA = os.environ["MORA"]
MINILM = ".cache/models/minilm"
GGUF = ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
WORK = Path(tempfile.mkdtemp(prefix="mora-interop-"))


def mora(*words, text=None):
    data = None if text is None else text.encode()  # as bytes: Python would change line ends
    run = subprocess.run([MORA, *map(str, words)], input=data, capture_output=True)
    if run.returncode != 0:
        raise AssertionError(f"mora {words[0]}: {run.stderr.decode().strip()}")
    return run.stdout.decode()


def mora_json(*words):
    return json.loads(mora(*words, "--json", "--quiet").splitlines()[-1])


def texts(count, file=".cache/data/reviews.valid.tsv"):
    rows = Path(file).read_text(encoding="utf-8").split("\n")[1 : count + 1]
    return [row.split("\t")[0] for row in rows]


def forward(model, what, lines, *more):
    """Row i of `mora forward` as a list of arrays."""
    data, out = WORK / "rows.jsonl", WORK / "rows.safetensors"
    data.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    mora("forward", "--model", model, "--what", what, "--data", data, "--out", out, "--quiet", *more)
    rows = load_file(out)
    return [rows[str(i)] for i in range(len(lines))]


def outputs(model, tokenizer, lines, pick):
    """The same of a torch model, one line at a time."""
    with torch.no_grad():
        return [pick(model(**tokenizer(line, return_tensors="pt"))).numpy() for line in lines]


def worst(ours, theirs):
    """The largest difference, absolute or as a share of the largest value where that is above 1."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape, f"shapes {a.shape} and {b.shape}"
    scale = max(1.0, max(np.abs(b).max() for b in theirs))
    return max(np.abs(a.astype(np.float64) - b).max() for a, b in zip(ours, theirs)) / scale


def expect_near(name, ours, theirs, tolerance):
    difference = worst(ours, theirs)
    assert difference <= tolerance, f"{name}: differs by {difference:.2e}, allowed {tolerance:.0e}"
    return f"{name} {difference:.1e}"


def smollm2():
    """The GGUF as a Hugging Face directory in f32."""
    directory = WORK / "smollm2"
    if not directory.exists():
        mora("merge", "--model", GGUF, "--out", directory, "--dtype", "f32")
    return directory


def trained(name, example, *overrides):
    """The adapter of a short run of an example."""
    run = WORK / name
    if not run.exists():
        mora("train", f"examples/{example}.yaml", f"out={run}", "data.valid=null", "train.epochs=null",
             "train.eval_every=null", "train.save_every=null", "--quiet", *overrides)
    return run / "adapter"


def lm_adapter():
    return trained("lm", "instruction", f"model={smollm2()}", "train.steps=8", "train.batch_tokens=256")


def tokenize():
    from tokenizers import Tokenizer

    lines = texts(1000)
    for line in Path("tests/goldens/awkward_lines.txt").read_bytes().split(b"\n"):
        try:
            lines.append(line.decode())
        except UnicodeDecodeError:
            pass  # mora takes what is no UTF-8; a Python string cannot hold it
    lines = [line for line in lines if line and not line.endswith("\r")]
    for model in (MINILM, smollm2()):
        rows = mora("tokenize", "--model", model, text="\n".join(lines) + "\n").splitlines()
        tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        for line, row in zip(lines, rows, strict=True):
            ours, theirs = json.loads(row), tokenizer.encode(line).ids
            assert ours == theirs, f"{model}: {line!r}: {ours} and {theirs}"
    return f"{len(lines)} lines, 2 models"


def hidden():
    from transformers import AutoModel, AutoTokenizer

    lines = texts(200)
    model, tokenizer = AutoModel.from_pretrained(MINILM), AutoTokenizer.from_pretrained(MINILM)
    theirs = outputs(model.eval(), tokenizer, lines, lambda out: out.last_hidden_state[0])
    return expect_near("hidden states of 200 lines", forward(MINILM, "hidden", lines), theirs, 1e-4)


def causal(path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(path)


def convert():
    lines = texts(20)
    model, tokenizer = causal(smollm2())
    theirs = outputs(model, tokenizer, lines, lambda out: out.logits[0])
    return expect_near("logits of the GGUF", forward(GGUF, "logits", lines), theirs, 1e-4)


def peft():
    from peft import PeftModel

    lines, adapter = texts(20), lm_adapter()
    exported = mora_json("export", "--adapter", adapter, "--to", "peft", "--out", WORK / "lm.peft")
    assert exported["exact"]
    model, tokenizer = causal(smollm2())
    base = outputs(model, tokenizer, lines, lambda out: out.logits[0])
    theirs = outputs(PeftModel.from_pretrained(model, WORK / "lm.peft").eval(), tokenizer, lines, lambda o: o.logits[0])
    assert worst(base, theirs) > 1e-3, "the adapter changes nothing"
    return expect_near("logits", forward(smollm2(), "logits", lines, "--adapter", adapter), theirs, 1e-4)


def classifier_adapter(kind, *overrides):
    return trained(kind, "classification", "head.pooling=pooler", "train.steps=4", "optimizer.lr=3e-3", *overrides)


def expect_peft_logits(name, adapter, lines):
    """The adapter, exported and loaded by peft, gives the logits that mora gives with it."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    mora("export", "--adapter", adapter, "--to", "peft", "--out", WORK / f"{name}.peft")
    base = AutoModelForSequenceClassification.from_pretrained(MINILM, num_labels=2)
    model = PeftModel.from_pretrained(base, WORK / f"{name}.peft").eval()
    theirs = outputs(model, AutoTokenizer.from_pretrained(MINILM), lines, lambda out: out.logits[0])
    return expect_near(name, forward(MINILM, "logits", lines, "--adapter", adapter), theirs, 1e-4)


def mora_as_lora():
    lines, results = texts(50), []
    for operator in ("truncation", "sharing", "group", "group_sharing", "sharing_group"):
        adapter = classifier_adapter(operator, "adapter.kind=mora", f"adapter.operator={operator}")
        results.append(expect_peft_logits(operator, adapter, lines))
    return ", ".join(results)


def peft_family():
    lines, results = texts(20), []
    kinds = {
        "rslora": ["adapter.kind=rslora"],
        "dora": ["adapter.kind=dora"],
        "pissa": ["adapter.kind=lora", "adapter.init=pissa"],
        "olora": ["adapter.kind=lora", "adapter.init=olora"],
        "adalora": ["adapter.kind=adalora", "adapter.adapt={budget: 4, start: 1, end: 3, interval: 1}"],
        "remora": ["adapter.kind=mora", "adapter.operator=sharing",
                   "adapter.restart={interval: 2, operators: [sharing, group], rewarm: 0}"],
    }
    for name, overrides in kinds.items():
        adapter = classifier_adapter(name, *overrides)
        results.append(expect_peft_logits(name, adapter, lines))
    return ", ".join(results)


def embeddings():
    """LoRA on embeddings under a tied head: peft reads the export, mora what peft saves, transformers the merged model."""
    from peft import PeftModel

    lines = texts(20)
    adapter = trained("embeddings", "instruction", f"model={smollm2()}", "train.steps=8", "train.batch_tokens=256",
                      "adapter.targets=[embed_tokens,q_proj]")
    ours = forward(smollm2(), "logits", lines, "--adapter", adapter)
    mora("export", "--adapter", adapter, "--to", "peft", "--out", WORK / "embeddings.peft")
    model, tokenizer = causal(smollm2())
    base = outputs(model, tokenizer, lines, lambda out: out.logits[0])
    model = PeftModel.from_pretrained(model, WORK / "embeddings.peft").eval()
    theirs = outputs(model, tokenizer, lines, lambda out: out.logits[0])
    assert worst(base, theirs) > 1e-3, "the adapter changes nothing"
    model.save_pretrained(WORK / "embeddings.saved")  # with the table, as peft does
    again = forward(smollm2(), "logits", lines, "--adapter", WORK / "embeddings.saved")
    mora("merge", "--model", smollm2(), "--adapter", adapter, "--out", WORK / "embeddings.merged")
    merged = outputs(causal(WORK / "embeddings.merged")[0], tokenizer, lines, lambda out: out.logits[0])
    return ", ".join([expect_near("exported", ours, theirs, 1e-4), expect_near("saved by peft", again, theirs, 1e-4),
                      expect_near("merged", ours, merged, 1e-4)])


def merge():
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    lines, adapter = texts(50), classifier_adapter("rotation", "adapter.kind=mora", "adapter.operator=rotation")
    mora("merge", "--model", MINILM, "--adapter", adapter, "--out", WORK / "minilm")
    model = AutoModelForSequenceClassification.from_pretrained(WORK / "minilm").eval()
    assert model.config.id2label == {0: "negative", 1: "positive"}, model.config.id2label
    theirs = outputs(model, AutoTokenizer.from_pretrained(WORK / "minilm"), lines, lambda out: out.logits[0])
    results = [expect_near("classifier", forward(MINILM, "logits", lines, "--adapter", adapter), theirs, 1e-4)]

    merged = mora_json("merge", "--model", smollm2(), "--adapter", lm_adapter(), "--out", WORK / "merged")
    model, tokenizer = causal(WORK / "merged")
    lines = texts(20)
    theirs = outputs(model, tokenizer, lines, lambda out: out.logits[0])
    ours = forward(smollm2(), "logits", lines, "--adapter", lm_adapter())
    return ", ".join([*results, expect_near("language model", ours, theirs, 1e-4),
                      f"mora's own check {merged['max_abs_error']:.1e}"])


def llama_cpp():
    from llama_cpp import Llama

    mora("export", "--adapter", lm_adapter(), "--to", "gguf", "--model", GGUF, "--out", WORK / "lm.gguf")
    model = Llama(GGUF, lora_path=str(WORK / "lm.gguf"), n_ctx=512, logits_all=True, verbose=False)
    same, changed, prompts = 0, 0, [f"Review: {line}\nSentiment:" for line in texts(8)]
    for prompt in prompts:
        words = ["generate", "--model", GGUF, "--prompt", prompt, "--max-tokens", 8]
        ours = mora_json(*words, "--adapter", lm_adapter())["ids"]
        changed += ours != mora_json(*words)["ids"]
        theirs = []
        for token in model.generate(model.tokenize(prompt.encode(), add_bos=False, special=True), temp=0.0):
            if len(theirs) == len(ours) or token == model.token_eos():
                break
            theirs.append(token)
        same += len(theirs) > 0 and ours[: len(theirs)] == theirs
    assert changed > 0, "the adapter changes nothing"
    # llama.cpp quantises the activations too, so one near tie may fall the other way.
    assert same >= len(prompts) - 1, f"greedy tokens agree for {same} of {len(prompts)} prompts"
    return f"greedy tokens of {same} of {len(prompts)} prompts"


def report():
    """The page of a run in Chromium, light and dark, wide and narrow; MORA_SCREENSHOTS keeps the pictures."""
    adapter = trained("report", "classification", "train.steps=20", "adapter.kind=adalora",
                      "adapter.adapt={budget: 4, start: 4, end: 16, interval: 4}")
    page, pictures = adapter.parent / "report.html", Path(os.environ.get("MORA_SCREENSHOTS", WORK))

    def chromium(*words):
        run = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                              "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", *words,
                              page.resolve().as_uri()], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        assert "CONSOLE" not in run.stderr, run.stderr
        return run.stdout

    charts = chromium("--dump-dom").count("<svg")
    assert charts >= 5, f"{charts} charts"
    seen = set()
    for scheme, setting in (("light", 1), ("dark", 0)):
        for width in (1280, 500):
            file = pictures / f"report-{scheme}-{width}.png"
            chromium(f"--blink-settings=preferredColorScheme={setting}", f"--window-size={width},2400",
                     f"--screenshot={file.resolve()}")
            assert file.stat().st_size > 30_000, f"{file} is nearly empty"
            seen.add(file.read_bytes())
    assert len(seen) == 4, "light and dark look alike"
    return f"{charts} charts, {len(seen)} pictures"


def serve():
    """The openai client and curl at `mora serve`: whole, streamed, by adapter, in error, and 32 requests at a time."""
    from concurrent.futures import ThreadPoolExecutor
    from time import monotonic

    import openai

    server = subprocess.Popen([MORA, "serve", "--model", GGUF, "--name", "base", "--adapter", f"tuned={lm_adapter()}",
                               "--port", "0", "--quiet"], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120)
        assert [model.id for model in client.models.list()] == ["base", "tuned"]

        def ask(text, model="base", **more):
            return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}],
                                                  temperature=0, max_tokens=24, **more)

        whole = ask("Name three colours.")
        pieces = list(ask("Name three colours.", stream=True, stream_options={"include_usage": True}))
        streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        assert streamed == whole.choices[0].message.content, (streamed, whole)
        assert pieces[-1].usage == whole.usage and len(pieces) > 10, pieces[-1]
        body = {"model": "tuned", "prompt": "Once upon", "max_tokens": 8, "temperature": 0, "stream": True}
        curl = subprocess.run(["curl", "-sSN", f"{url}/completions", "-H", "Content-Type: application/json", "-d",
                               json.dumps(body)], capture_output=True, text=True, check=True).stdout
        events = [line[len("data: "):] for line in curl.split("\n\n") if line]
        assert events[-1] == "[DONE]", curl
        text = "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])
        body.pop("stream")
        assert text == client.completions.create(**body).choices[0].text, curl

        vectors = [[np.array(one.embedding) for one in
                    client.embeddings.create(model="base", input=["a cat", "two cats"], **form).data]
                   for form in ({"encoding_format": "float"}, {})]  # by itself the client asks for base64
        expect_near("embeddings", *vectors, 1e-6)
        for error, call in ((openai.NotFoundError, lambda: ask("x", model="none")),
                            (openai.BadRequestError, lambda: ask("x", n=1000)),
                            (openai.BadRequestError, lambda: ask("x", tools=[{"type": "function"}]))):
            try:
                call()
            except error as raised:
                assert raised.body["message"], raised
            else:
                raise AssertionError(f"no {error.__name__}")

        requests = [(f"Review: {line}", model) for line in texts(16) for model in ("base", "tuned")]
        answer = lambda request: ask(*request).choices[0].message.content
        start = monotonic()
        alone = [answer(request) for request in requests]
        one_by_one = monotonic() - start
        start = monotonic()
        with ThreadPoolExecutor(32) as threads:
            together = list(threads.map(answer, requests))
        at_once = monotonic() - start
        # Sums are rounded by the size of the batch, so a near tie may fall the other way.
        same = sum(a == b for a, b in zip(alone, together))
        assert same >= len(requests) - 2, f"{same} of {len(requests)} answers are what they are alone"
        changed = sum(base != tuned for base, tuned in zip(together[::2], together[1::2]))
        assert changed > 0, "the adapter changes nothing"
        server.terminate()
        assert server.wait(30) == 143, server.returncode
    finally:
        server.kill()
        server.wait()
    return (f"{len(pieces)} pieces, {same} of {len(requests)} answers as alone, one by one {one_by_one:.1f} s, "
            f"32 at a time {at_once:.1f} s")


CHECKS = [tokenize, hidden, convert, peft, mora_as_lora, peft_family, embeddings, merge, llama_cpp, report, serve]


def main(names):
    known = {check.__name__: check for check in CHECKS}
    for name in names:
        if name not in known:
            sys.exit(f"error: interop: no check '{name}' ({', '.join(known)})")
    failed = 0
    for check in [known[name] for name in names] or CHECKS:
        try:
            print(f"ok      {check.__name__}: {check()}", flush=True)
        except Exception as error:  # a check that cannot run has failed
            failed += 1
            print(f"FAILED  {check.__name__}: {type(error).__name__}: {error}", flush=True)
    total = len(names or CHECKS)
    print(f"{total - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    finally:
        subprocess.run(["rm", "-rf", str(WORK)], check=False)
    sys.exit(code)
