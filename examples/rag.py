"""Retrieval-augmented generation up to the model's door: python examples/rag.py [FOLDER].

Passages are stored and found by nestvec, as a LangChain vector store; the best that fit go into a
prompt; and the recall of that context, the share of the answering passages that it holds, is told
for codes of 4 to 32 bytes beside the vectors themselves. No language model is asked: what the
context lacks, no model can find in it. Without a FOLDER (corpus, queries and judgements in the BEIR
layout) the passages are documentation strings of the running Python, with the questions below.
Needs the extras 'demo' and 'langchain'; takes under a minute.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from langchain_core.documents import Document
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from nestvec.bridge.langchain import NestvecEmbeddings, NestvecStore
from nestvec.data.demo import demo_records
from nestvec.data.encoder import load_encoder
from nestvec.data.source import open_source
from nestvec.measure.intervals import bootstrap_mean

PASSAGES = 8
CHARACTERS = 2_000
CUTS = (4, 8, 16, 32)
PROMPT = PromptTemplate.from_template(
    "Answer the question by the passages alone, and name those you used.\n\n"
    "{context}\n\nQuestion: {question}\nAnswer:"
)
MODULES = {
    "base64", "calendar", "collections", "contextlib", "copy", "csv", "difflib", "fnmatch",
    "functools", "glob", "gzip", "heapq", "itertools", "json", "math", "pathlib", "queue",
    "re", "shlex", "shutil", "sqlite3", "statistics", "string", "subprocess", "tempfile",
    "textwrap", "threading", "time", "timeit", "traceback", "urllib", "warnings",
    "webbrowser", "zipfile",
}  # fmt: skip
QUESTIONS = {
    "How do I decode text that was encoded with base 64?": "base64.b64decode",
    "Does this year have a 29th of February?": "calendar.isleap",
    "How can I count how often each word occurs in a list?": "collections.Counter",
    "I need a queue that I can append to at both ends.": "collections.deque",
    "How do I ignore an exception without a try block?": "contextlib.suppress",
    "Send what a function prints to a file instead.": "contextlib.redirect_stdout",
    "Copy a nested structure so that nothing is shared with the original.": "copy.deepcopy",
    "Read the rows of a comma separated file as dictionaries.": "csv.DictReader",
    "Which of these words did the user probably mean to type?": "difflib.get_close_matches",
    "How do I show what changed between two versions of a text?": "difflib.unified_diff",
    "Remember results of a function, but not more than a hundred.": "functools.lru_cache",
    "Fix some arguments of a function in advance.": "functools.partial",
    "List all files whose names match a pattern with stars.": "glob.glob",
    "Find the ten biggest values without sorting all of them.": "heapq.nlargest",
    "Merge several sorted streams into one.": "heapq.merge",
    "Go through all pairs that can be picked from a list.": "itertools.combinations",
    "Parse a JSON string.": "json.loads",
    "Compare two floating point numbers despite rounding.": "math.isclose",
    "Read a whole text file into a string in one line.": "pathlib.Path.read_text",
    "Make a folder.": "pathlib.Path.mkdir",
    "A queue where urgent entries come out first.": "queue.PriorityQueue",
    "Replace everything that matches a regular expression.": "re.sub",
    "How do I pass a file name with spaces safely to a shell?": "shlex.quote",
    "How much room is left on the disk?": "shutil.disk_usage",
    "Where is the program that a command would run?": "shutil.which",
    "Delete a folder and everything in it.": "shutil.rmtree",
    "Copy a folder with all that is below it.": "shutil.copytree",
    "What is the middle value of my data?": "statistics.median",
    "Are two series of numbers linearly related?": "statistics.correlation",
    "Run another program and get its output.": "subprocess.run",
    "A folder that removes itself when I am done.": "tempfile.TemporaryDirectory",
    "Remove the indentation that all lines have in common.": "textwrap.dedent",
    "Break a long paragraph into lines of equal width.": "textwrap.wrap",
    "Call a function in thirty seconds from now.": "threading.Timer",
    "Measure how long a small piece of code takes.": "timeit.timeit",
    "Turn a relative link into an absolute address.": "urllib.parse.urljoin",
    "Escape special characters for use in a web address.": "urllib.parse.quote",
    "Show a page in the user's browser.": "webbrowser.open",
    "Unpack an archive into the current folder.": "zipfile.ZipFile.extractall",
    "Get the text of the last exception as a string.": "traceback.format_exc",
}


def main() -> None:
    """Store, ask at each byte count, and show one prompt."""
    if len(sys.argv) > 1:
        passages, questions = judged_passages(Path(sys.argv[1]))
    else:
        passages, questions = python_passages()
    embeddings = NestvecEmbeddings(load_encoder("minilm"))
    with tempfile.TemporaryDirectory() as folder:
        store = NestvecStore(Path(folder) / "passages.nv", embeddings)
        store.add_documents(passages)
        store.fit(f"{CUTS[-1]}xcb")
        print(f"{len(passages):,} passages, {len(questions)} questions")
        print(f"context: at most {PASSAGES} passages and {CHARACTERS:,} characters\n")
        print("read of each passage   context recall")
        asked = [embeddings.embed_query(question) for question in questions]
        wanted = list(questions.values())
        plans = {f"{n} + 1 bytes": f"{n}B:{PASSAGES}" for n in CUTS}
        for label, plan in {**plans, "vectors (float16)": f"raw:{PASSAGES}"}.items():
            found = [
                context_of(store.similarity_search_by_vector(vector, PASSAGES, plan=plan))
                for vector in asked
            ]
            recall = bootstrap_mean(context_recall(found, wanted))
            print(f"{label:<22} {recall.value:.3f} [{recall.low:.3f}, {recall.high:.3f}]")

        # the same as a chain, whose next link would be a language model
        retriever = store.as_retriever(search_kwargs={"k": PASSAGES, "plan": plans["16 + 1 bytes"]})
        chain = {
            "context": retriever | RunnableLambda(context_of) | RunnableLambda(numbered),
            "question": RunnablePassthrough(),
        } | PROMPT
        print("\nA prompt by codes of 16 bytes:\n")
        print(chain.invoke(list(questions)[-1]).to_string())


def python_passages() -> tuple[list[Document], dict[str, set[str]]]:
    """Documentation strings of some modules; {question: ids of the passages that answer it}."""
    passages = []
    for name, record in demo_records():
        if name.partition(".")[0] in MODULES:
            text = f"{record['title']}\n{record['text']}"
            passages.append(Document(text, id=name, metadata={"source": name}))
    there = {passage.id for passage in passages}
    return passages, {question: {id_} for question, id_ in QUESTIONS.items() if id_ in there}


def judged_passages(folder: Path) -> tuple[list[Document], dict[str, set[str]]]:
    """The documents of a folder in the BEIR layout, and its questions with relevant documents."""
    source = open_source(folder)
    passages = [
        Document(row.titled_text, id=row.id, metadata={"source": row.id}) for row in source.rows()
    ]
    qrels = source.qrels()
    relevant = {
        query.text: {name for name, score in qrels[query.id].items() if score > 0}
        for query in source.queries()
        if query.id in qrels
    }
    return passages, {question: ids for question, ids in relevant.items() if ids}


def context_of(found: Sequence[Document], characters: int = CHARACTERS) -> list[Document]:
    """The best passages, in their order, as long as they fit."""
    context, length = [], 0
    for passage in found:
        length += len(passage.page_content)
        if length > characters and context:
            break
        context.append(passage)
    return context


def context_recall(
    contexts: Sequence[Sequence[Document]], wanted: Sequence[set[str]]
) -> np.ndarray:
    """The share of the wanted passages (q,) that each question's context holds."""
    shares = [
        len({passage.id for passage in context} & ids) / len(ids)
        for context, ids in zip(contexts, wanted, strict=True)
    ]
    return np.array(shares)


def numbered(context: Sequence[Document]) -> str:
    """Passages as a prompt shows them."""
    return "\n\n".join(
        f"[{number}] ({passage.metadata['source']})\n{passage.page_content}"
        for number, passage in enumerate(context, 1)
    )


if __name__ == "__main__":
    main()
