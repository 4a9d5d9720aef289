"""The command line's grammar and its help, which is its documentation.

Knows: verbs, options, which function answers to which verb. Does not know: what these functions do.
"""

from __future__ import annotations

import argparse
import difflib
from typing import Any

from illama import __version__
from illama.bench.options import add_arguments as bench_arguments
from illama.tune.options import add_arguments as tune_arguments

DESCRIPTION = """\
Language models on Intel hardware: Arc GPUs first, other GPUs, NPU and CPU too.

  illama quickstart            fetch a small model, ask it something, see what to do next
  illama run smollm2           talk to a model
  illama run smollm2 "Why?"    one answer, on stdout
  illama serve                 the model host in the foreground, with OpenAI's API
"""
EPILOG = """\
The model host is started when something needs it, and ends itself when nothing has for a day.
`illama env` shows every ILLAMA_ variable, its value, and where that came from.
Exit codes: 0; 1 failed, and stderr says what and what to do; 2 wrong usage; 130 Ctrl-C.
"""


def build() -> argparse.ArgumentParser:
    """The parser. It leaves `verb` and `handler` ("module:function" in `illama.cli`) in the namespace."""
    parser = argparse.ArgumentParser(
        prog="illama", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"illama {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")

    def verb(
        name: str, handler: str, short: str, more: str = "", aliases: tuple[str, ...] = ()
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(
            name,
            aliases=aliases,
            help=short,
            description=f"{short[0].upper()}{short[1:]}.\n\n{more}".rstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(handler=handler)
        return made

    _host_verbs(verb)
    _model_verbs(verb)
    _run_verb(verb)
    _key_verb(verb)
    return parser


def check_verb(parser: argparse.ArgumentParser, typed: str) -> None:
    """Leave, as argparse does, if there is no such verb, and say which one may be meant."""
    verbs = next(iter(parser._get_positional_actions())).choices or {}  # noqa: SLF001 - there is no other way to them
    if typed not in verbs:
        near = difflib.get_close_matches(typed, verbs, 1, 0.7)
        meant = f"did you mean {near[0]}? " if near else ""
        parser.error(f"there is no verb {typed!r}: {meant}`illama --help` lists them")


def _host_verbs(verb: Any) -> None:
    made = verb(
        "serve",
        "serve:serve",
        "run the model host in the foreground",
        "It listens on ILLAMA_HOST:ILLAMA_PORT (0.0.0.0:11434 unless set) and speaks OpenAI's API under /v1 and\n"
        "Ollama's under /api. Every request needs the key: `illama serve` says where it is kept.\n"
        "Ctrl-C lets running requests finish first.",
    )
    made.add_argument("--no-key", action="store_true", help="ask nobody for a key; only with ILLAMA_HOST on loopback")

    made = verb(
        "stop",
        "models:stop",
        "unload a model, or end the host",
        "Running requests may finish first (at most ILLAMA_DRAIN_SEC), unless --force is given.",
    )
    made.add_argument("model", nargs="?", metavar="MODEL", help="the model to unload")
    made.add_argument("--host", action="store_true", help="end the model host of this machine and user")
    made.add_argument("--force", action="store_true", help="do not wait for running requests")

    made = verb(
        "env", "about:env", "show every variable, its value, and where that came from", "Secrets are not shown."
    )
    made.add_argument("--json", action="store_true", help="as JSON")
    made.set_defaults(lenient=True)
    made = verb(
        "doctor",
        "doctor:doctor",
        "see what is right and wrong with this machine, and what to do",
        "It looks at Python and packages, OpenVINO's devices and their drivers, memory, folders, key, host, settings,\n"
        "Jupyter, and the hub; it changes nothing. Exit code 1 if something has failed.",
    )
    made.add_argument("--json", action="store_true", help="as JSON, with all facts")
    made.set_defaults(lenient=True)
    made.add_argument(
        "--selftest",
        action="store_true",
        help="also run a model on each device, and write a report here that can be sent; waits for others' requests",
    )
    bench_arguments(
        verb(
            "bench",
            "bench:bench",
            "measure what this machine does with a model",
            "TTFT and prompt tokens/s for new prompts and the next turn of a conversation, streams at once, loads,\n"
            "memory; medians of interleaved rounds, with lowest and highest. Ctrl-C ends it and prints what was\n"
            "measured so far. It refuses while others use the host.\n\n"
            "  illama bench smollm2 --quick                        a first look, in under a minute\n"
            "  illama bench smollm2 --json before.json             all of it, kept\n"
            "  illama bench smollm2 --compare before.json          what has changed since\n"
            "  illama bench smollm2 --raw --switch other           what illama adds to OpenVINO GenAI alone\n"
            "  illama bench smollm2 --against llama=http://127.0.0.1:8080",
        )
    )
    tune_arguments(
        verb(
            "tune",
            "tune:tune",
            "find the settings with which this machine runs a model best, and keep them with it",
            "It tries threads and kinds of cores, the KV cache's precision and the prompt tokens of a step, one after\n"
            "the other, each beside what is there in interleaved rounds. A value is kept if it is better in every\n"
            "round, by 3 % at the median, and nothing else is worse. What `illama set` has set is not tried.\n"
            "Ctrl-C ends it and leaves the model as it was. It refuses while others use the host.\n\n"
            "  illama tune smollm2 --quick             a first look\n"
            "  illama tune smollm2 --dry-run           measure, and keep nothing\n"
            "  illama tune smollm2 --reset             take back what was tuned",
        )
    )
    made = verb(
        "logs",
        "logs:show",
        "show the last lines of a log",
        "host: what the model host did. engine: what OpenVINO said. pull: what went on in pulls.\n"
        "illama writes no prompts, answers or keys into them.",
    )
    made.add_argument("log", nargs="?", choices=("host", "engine", "pull"), default="host", help="host, unless given")
    made.add_argument("-n", type=_lines, dest="lines", default=50, metavar="N", help="how many lines; 50 unless given")
    made.add_argument("-f", action="store_true", dest="follow", help="go on with what is added, until Ctrl-C")
    verb("version", "about:version", "show the version of this program, and of the host if one runs")
    verb(
        "quickstart",
        "quickstart:quickstart",
        "fetch a small model, start the host, get one answer, and see what to do next",
        "The model is SmolLM2-135M-Instruct (98 MB, Apache-2.0): small enough for any machine, and no sage.",
    )


def _model_verbs(verb: Any) -> None:
    made = verb(
        "pull",
        "pull:pull",
        "fetch a model",
        "SOURCE is a name of the catalogue (smollm2, qwen3:8b), a repository on the hub (OpenVINO/Qwen3-8B-int4-ov,\n"
        "ORG/REPO@REVISION, ORG/REPO-GGUF:Q4_K_M), a local folder, or a local .gguf file. A checkpoint (safetensors)\n"
        "is converted; that takes twice its size in memory, and an environment of its own, made once when you agree.\n"
        "Nothing is ever overwritten. The pull is the host's: it goes on when this terminal goes, and who asks for it\n"
        "again joins it. Ctrl-C cancels it, unless somebody else waits for it. What was fetched is kept.",
    )
    made.add_argument("source", metavar="SOURCE", help="catalogue name, repository, folder or .gguf file")
    made.add_argument("--name", metavar="NAME", help="what the model is to be called here")
    made.add_argument("--device", metavar="DEVICE", help="pin it to an OpenVINO device: CPU, GPU, GPU.1, NPU")
    made.add_argument(
        "--weight-format",
        choices=("int4", "int8", "fp16", "auto"),
        help="what a checkpoint's weights become; auto, unless given, suits its size and task",
    )
    made.add_argument("--trust-remote-code", action="store_true", help="run the code that its repository brings")
    made.add_argument("--yes", action="store_true", help="make the converter's environment, if needed, without asking")
    made.add_argument("--cancel", action="store_true", help="cancel that pull, whoever waits for it; takes its id too")

    made = verb("list", "models:list_models", "list the models that are installed", aliases=("ls",))
    made.add_argument("--json", action="store_true", help="as JSON")
    made = verb(
        "ps",
        "models:ps",
        "list the models that are loaded, and the pulls that run or failed",
        "UNTIL is the time left until an idle model is unloaded.",
    )
    made.add_argument("--pulls", action="store_true", help="list the pulls instead, those that ended lately too")
    made.add_argument("--json", action="store_true", help="as JSON")
    made = verb(
        "set",
        "options:set_options",
        "show or change a model's options: device, draft, prompt_lookup, adapter, …",
        "`illama set MODEL draft=OTHER prompt_lookup=1` changes, `draft=` takes back, nothing shows what there is. "
        "A loaded model keeps its old options until it is loaded again.",
    )
    made.add_argument("model", metavar="MODEL", help="its name")
    made.add_argument("changes", metavar="OPTION=VALUE", nargs="*", help="what to change")
    made = verb("show", "models:show", "show what is known about a model")
    made.add_argument("model", nargs="?", metavar="MODEL", help="its name, or another name that it goes by")
    made.add_argument("--catalog", action="store_true", help="list the short names that pull and run know instead")
    made.add_argument("--template", action="store_true", help="show its chat template, in full and nothing else")
    made.add_argument("--json", action="store_true", help="as JSON, hashes and template in full")
    made = verb(
        "cp",
        "models:cp",
        "give a model a second name",
        "The copy shares the files where the disk allows it, and takes no room then. Nothing is ever overwritten.",
    )
    made.add_argument("source", metavar="SOURCE", help="the model")
    made.add_argument("destination", metavar="DESTINATION", help="its second name")
    made = verb(
        "rm",
        "models:rm",
        "remove models, and what only they used of the cache",
        "Running requests may finish first. What models share with others stays, and is not counted as freed.",
    )
    made.add_argument("models", nargs="+", metavar="MODEL", help="the models to remove")
    made.add_argument("--force", action="store_true", help="do not wait for running requests")
    made = verb(
        "prune",
        "prune:prune",
        "delete what nothing needs any more",
        "Lists, and after asking deletes: downloads that were used or never finished and that no pull is at, models\n"
        "that were never finished, what was compiled for models that are gone, broken indexes that were set aside,\n"
        "environments of older converters. Models stay, as does all that is in use.",
    )
    made.add_argument("--dry-run", action="store_true", help="only list it")
    made.add_argument("--yes", action="store_true", help="do not ask")
    made.add_argument("--json", action="store_true", help="only list it, as JSON")


def _run_verb(verb: Any) -> None:
    made = verb(
        "run",
        "run:run",
        "ask a model, or talk to it",
        "With a PROMPT: one answer on stdout. What is piped in on stdin follows the prompt:\n"
        '  illama run smollm2 "Summarise this:" < notes.txt\n'
        "Without one, in a terminal: a conversation; /? lists its commands.\n"
        "A model of the catalogue that is not installed is pulled first.",
    )
    made.add_argument("model", metavar="MODEL", help="the model's name")
    made.add_argument("prompt", nargs="*", default=[], metavar="PROMPT", help="the question; its words are joined")
    made.add_argument("--system", metavar="TEXT", help="instructions that go in front of the conversation")
    made.add_argument("--temperature", type=float, metavar="T", help="0: always the likeliest; higher: more varied")
    made.add_argument("--top-p", type=float, metavar="P", help="choose among the likeliest tokens that sum up to P")
    made.add_argument("--max-tokens", type=int, metavar="N", help="cut the answer after N tokens")
    made.add_argument("--seed", type=int, metavar="N", help="the same seed repeats the same choices")
    made.add_argument("--format", metavar="json|FILE", help="answer in JSON, or in JSON after the schema in FILE")
    made.add_argument("--keepalive", metavar="TIME", help='keep it loaded so long afterwards: "10m", seconds, or -1')
    made.add_argument("--device", metavar="DEVICE", help="run it on this device: CPU, GPU, GPU.1, NPU, AUTO")
    made.add_argument("--verbose", action="store_true", help="say on stderr how long it took")


def _key_verb(verb: Any) -> None:
    made = verb(
        "key",
        "key:list_keys",
        "make, list and revoke inference keys",
        "An inference key lets a program list and use models, and do nothing else: no pull, no rm, no look at what\n"
        "others do. Give such a key, not the owner's, to Open WebUI and the like. They work at the host, and through\n"
        "Jupyter. Keys are kept as hashes; a key that is revoked is refused from the next request on.",
    )
    actions = made.add_subparsers(dest="action", metavar="add | list | rm", required=True)
    adding = actions.add_parser("add", help="make a key, and print it this once")
    adding.add_argument("name", metavar="NAME", help="what it is for, such as open-webui")
    adding.set_defaults(handler="key:add")
    listing = actions.add_parser("list", help="show names, and when each was made and last used")
    listing.add_argument("--json", action="store_true", help="as JSON")
    removing = actions.add_parser("rm", help="revoke keys")
    removing.add_argument("names", nargs="+", metavar="NAME", help="the keys to revoke")
    removing.set_defaults(handler="key:rm")


def _lines(raw: str) -> int:
    if not raw.isdecimal():
        raise argparse.ArgumentTypeError("must be a whole number, 0 or more")
    return int(raw)
