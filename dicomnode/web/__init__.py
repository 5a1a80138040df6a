"""The review page: what a physicist, an administrator and an auditor open in a browser.

It reads the record and the store, and writes decisions, log-ins and looks; it computes nothing and loads no
engine. Pages are whole without script; scripts add the pictures and charts.
"""
