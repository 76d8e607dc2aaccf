# Answers rows with a model, until the end of its input. Started by models/flavors/r.py:
#   Rscript --vanilla server.R PROTOCOL ANSWERS
# PROTOCOL is the path of protocol.R, ANSWERS the number of the pipe for answers.

local({
  arguments <- commandArgs(trailingOnly = TRUE)
  sys.source(arguments[1L], envir = environment())
  options(warn = 1, digits = 15)
  requests <- file("stdin", "rb")
  answers <- file(paste0("/dev/fd/", arguments[2L]), "wb", raw = TRUE)

  # From the global environment, so that a method that the script defines is found.
  ask_predict <- eval(quote(function(model, newdata, ...) predict(model, newdata, ...)), globalenv())

  model <- NULL
  task <- ""
  classes <- character(0)
  type <- ""

  load_model <- function() {
    size <- read_int(requests)
    script <- read_raw(requests)
    data <- read_raw(requests)
    task <<- read_text(requests)
    classes <<- read_texts(requests, read_int(requests))
    type <<- read_text(requests)
    run_script(script)
    found <- unserialize(data)
    if (is.raw(found)) found <- unserialize(found)  # a crate: an RDS of a closure that was serialised before
    model <<- found
    texts_bytes(packages())
  }

  ask <- function(newdata, type) {
    own <- get0("predict_rows", envir = globalenv(), mode = "function", inherits = FALSE)
    if (!is.null(own)) return(own(model, newdata))
    if (is.function(model)) return(model(newdata))
    if (is.list(model) && is.function(unclass(model)[["predict"]])) return(unclass(model)[["predict"]](newdata))
    if (nzchar(type)) ask_predict(model, newdata, type = type) else ask_predict(model, newdata)
  }

  complete <- function(x, what) {
    row <- which(is.na(if (is.matrix(x)) rowSums(x) else x))
    if (length(row))
      stop(what, " is NA in row ", row[1L], ": a value that the model needs is missing there", call. = FALSE)
    x
  }

  is_label <- function(x) is.factor(x) || is.character(x) || is.logical(x)

  # What predict gave, as list(values, probabilities): one of them or both.
  shaped <- function(result, n) {
    if (is.list(result) && !is.data.frame(result)) {
      part <- intersect(c("posterior", "class", "fit"), names(result))
      if (!length(part)) stop("predict gave a list without posterior, class or fit", call. = FALSE)
      result <- result[[part[1L]]]
    }
    labels <- NULL
    if (is.data.frame(result)) {
      texts <- vapply(result, is_label, NA)
      if (sum(texts) > 1L) stop("predict gave ", sum(texts), " columns of labels", call. = FALSE)
      if (any(texts)) labels <- result[[which(texts)]]
      result <- if (all(texts)) NULL else as.matrix(result[!texts])
    } else if (is_label(result)) {
      labels <- result
      result <- NULL
    }
    if (!is.null(dim(result)) && ncol(result) == 1L) result <- as.vector(result)
    if (!is.null(result) && !is.numeric(result)) stop("predict gave ", class(result)[1L], call. = FALSE)
    count <- if (!is.null(labels)) length(labels) else if (is.null(dim(result))) length(result) else nrow(result)
    if (count != n) stop("predict gave ", count, " answers for ", n, " rows", call. = FALSE)

    if (task == "") {  # whatever there is, for a look: numbers, labels, or the most probable label
      if (!is.null(labels)) return(list(values = as.character(labels), probabilities = NULL))
      if (is.null(dim(result))) return(list(values = as.double(result), probabilities = NULL))
      return(list(values = colnames(result)[max.col(result, "first")], probabilities = NULL))
    }
    if (task == "regression") {
      if (is.null(result) || !is.null(dim(result))) stop("predict must give one number for each row", call. = FALSE)
      return(list(values = complete(as.double(result), "the answer"), probabilities = NULL))
    }
    values <- if (is.null(labels)) NULL else complete(as.character(labels), "the label")
    if (is.null(result)) return(list(values = values, probabilities = NULL))
    result <- complete(result, "the probability")
    if (is.null(dim(result))) {
      if (length(classes) != 2L || any(result < 0 | result > 1))
        stop("numbers from predict are probabilities of the second of two classes, between 0 and 1; ",
          "give labels as a factor, or a matrix of probabilities with the classes as column names", call. = FALSE)
      result <- cbind(1 - result, result)
      colnames(result) <- classes
    }
    if (is.null(colnames(result)) || !setequal(colnames(result), classes))
      stop("the columns of the probabilities are not the classes ", paste(classes, collapse = ", "), call. = FALSE)
    if (any(abs(rowSums(result) - 1) > 1e-6 | apply(result, 1L, min) < 0))
      stop("probabilities must not be negative and must sum to 1", call. = FALSE)
    list(values = values, probabilities = result[, classes, drop = FALSE])
  }

  # How predict wants to be asked, found once by asking: probabilities where there are any.
  find_type <- function(newdata) {
    if (inherits(model, "glm")) return("response")
    if (task == "regression") return("")
    for (type in c("prob", "probs", "response")) {
      given <- tryCatch(shaped(ask(newdata, type), nrow(newdata))$probabilities, error = function(e) NULL)
      if (!is.null(given)) return(type)
    }
    ""
  }

  answer <- function() {
    size <- read_int(requests)
    finds <- read_int(requests)
    newdata <- read_frame(requests)
    if (finds) return(charToRaw(find_type(newdata)))
    found <- shaped(ask(newdata, type), nrow(newdata))
    c(
      if (is.null(found$values)) int_bytes(0L)
      else if (is.character(found$values)) c(int_bytes(2L), texts_bytes(found$values))
      else c(int_bytes(1L), double_bytes(found$values)),
      if (is.null(found$probabilities)) int_bytes(0L)
      else c(int_bytes(length(classes)), double_bytes(found$probabilities))
    )
  }

  say <- function(what) {
    body <- tryCatch(list(0L, what()), error = function(error) list(1L, told(error)))
    send(answers, body[[1L]], body[[2L]])
  }

  say(load_model)
  repeat say(answer)
}, envir = new.env(parent = baseenv()))
