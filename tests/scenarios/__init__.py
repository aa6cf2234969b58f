"""Thousands of drawn systems with drawn faults, each a function of one number.

seed ──► a flow or a system of actors, and a plan of faults
     ──► `simulate`: the laws at each death, and what `main` itself asserts in the end
     ──► Outcome

python -m tests.scenarios --count 100000 --processes 2 --seed 0
"""
