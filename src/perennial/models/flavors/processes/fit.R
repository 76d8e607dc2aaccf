# Fits a model with the `fit` of a script and answers its bytes. Started by models/flavors/r.py:
#   Rscript --vanilla fit.R PROTOCOL ANSWERS

local({
  arguments <- commandArgs(trailingOnly = TRUE)
  sys.source(arguments[1L], envir = environment())
  options(warn = 1, digits = 15)
  requests <- file("stdin", "rb")
  answers <- file(paste0("/dev/fd/", arguments[2L]), "wb", raw = TRUE)

  fitted <- function() {
    size <- read_int(requests)
    script <- read_raw(requests)
    x <- read_frame(requests)
    y <- read_frame(requests)[[1L]]
    given <- lapply(seq_len(read_int(requests)), function(i) read_column(requests))
    params <- lapply(given, `[[`, "value")
    names(params) <- vapply(given, `[[`, "", "name")
    run_script(script)
    fit <- get0("fit", envir = globalenv(), mode = "function", inherits = FALSE)
    if (is.null(fit)) stop("the script defines no function fit(X, y, ...)", call. = FALSE)
    # By name, so that a call that is told or kept in the model does not spell out the data.
    named <- lapply(c(X = "X", y = "y", stats::setNames(names(params), names(params))), as.name)
    names(named)[1:2] <- ""
    call <- as.call(c(list(fit), named))
    call[[1L]] <- quote(fit)
    model <- eval(call, list2env(c(params, list(X = x, y = y)), parent = globalenv()))
    data <- serialize(model, NULL, version = 3L)
    c(int_bytes(length(data)), data, texts_bytes(packages()))
  }

  body <- tryCatch(list(0L, fitted()), error = function(error) list(1L, told(error)))
  send(answers, body[[1L]], body[[2L]])
}, envir = new.env(parent = baseenv()))
