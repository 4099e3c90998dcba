"""What the steps have to show: charts as inline SVG, and pages that carry them with their figures.

A page is one HTML file that fetches nothing and runs no script, as Kubeflow's UI shows it; the
report of a load run draws with the same parts. How much one page holds is bounded here.
"""
