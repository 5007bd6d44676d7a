"""How to train and score: one file a task. Pure PyTorch, no Ray.

To add a task: one file with the members of `tasks.base.Task`, one line in `TASKS`, one grid file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from grids.errors import UserError, unknown
from grids.schema import from_table

if TYPE_CHECKING:
    from grids.grid import Grid
    from tasks.base import Task

# Name in a grid file -> "module:class", imported when it is used, so that a command that only lists stays quick.
TASKS = {
    "asr/ctc": "tasks.asr.ctc:Ctc",
    "asr/deepspeech": "tasks.asr.deepspeech:DeepSpeech",
    "asr/emformer": "tasks.asr.emformer:Emformer",
    "asr/jasper": "tasks.asr.quartznet:JasperSystem",
    "asr/quartznet": "tasks.asr.quartznet:QuartzNetSystem",
    "gender": "tasks.gender:Gender",
    "lid": "tasks.lid:Language",
    "retrieval": "tasks.retrieval:Retrieval",
    "speaker/ecapa": "tasks.speaker.ecapa:Ecapa",
    "speaker/mhubert": "tasks.speaker.mhubert:SpeakerIdentification",
    "speaker/mhubert_validated": "tasks.speaker.mhubert_validated:ValidatedIdentification",
    "speaker/siamese": "tasks.speaker.siamese:Siamese",
    "speaker/speech_llm": "tasks.speaker.speech_llm:SpeechLLM",
    "speaker/untrained": "tasks.speaker.untrained:Untrained",
    "toy": "tasks.toy:Toy",
    "translation": "tasks.translation.task:Translation",
}


def task_class(name: str) -> "type[Task]":
    """The class of a task.

    Raises:
        UserError: no task of that name.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)


def make_task(grid: "Grid") -> "Task":
    """The grid's task with its options and model.

    Raises:
        UserError: no such task, or options that it does not take.
    """
    cls = task_class(grid.task)
    try:
        return cls(from_table(cls.Options, grid.options, "[options]"), grid.model)
    except UserError as error:
        raise UserError(f"task {grid.task!r}: {error}") from None
