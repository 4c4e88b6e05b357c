"""The searches, compiled: the gate that counts evaluations, and the optimisers on codes behind it.

Each search is written once. It asks the gate for the time of a code and ends when the gate says so.
Where all times are known (a replay), it runs at full speed. Where they have to be measured, the
gate stops the search at the first code whose time is not known; the caller measures it and runs the
search again from its start, which takes microseconds and, as a search depends on its seed and on
the times only, comes to the same point (`leanline.tuning.drive`).
"""
