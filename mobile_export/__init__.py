"""A torch module in, a verified artifact out: exporters, quantisation, parity, the app bundle."""
