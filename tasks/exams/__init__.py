"""What an evaluation set is: C-Eval, CMMLU and own questions in their schema, packs; reading and fetching them."""
