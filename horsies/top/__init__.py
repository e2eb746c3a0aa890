"""``horsies top``: the state of queues, tasks, runs and workers in a terminal.

The tables, figures and details are made with rich, which every installation has. Only `horsies.top.live` and the
modules that it uses need Textual, the package of the extra ``top``.
"""
