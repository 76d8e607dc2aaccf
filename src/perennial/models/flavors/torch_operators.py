"""The operators of PyTorch that a stored network may use: a policy, so a list by hand, whatever PyTorch has besides.

Each computes tensors from tensors and numbers alone. None opens a file (`aten::from_file` does), takes an address,
hands out memory that was not written, changes its inputs, or draws random numbers.
"""

from __future__ import annotations

__all__ = ["OPERATORS"]

_NAMES = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _cdist_forward _embedding_bag _local_scalar_dense _log_softmax
_native_batch_norm_legit_no_training _pdist_forward _scaled_dot_product_flash_attention_for_cpu _softmax _to_copy
_unsafe_view _weight_norm_interface abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d add addbmm addcdiv
addcmul addmm alias all amax amin any arange argmax argmin asin asinh atan atan2 atanh avg_pool1d avg_pool2d
avg_pool3d baddbmm batch_norm bilinear bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_tensors
bucketize cat ceil celu chunk clamp clamp_max clamp_min clone col2im concat constant_pad_nd conv1d conv2d conv3d
conv_transpose1d conv_transpose2d conv_transpose3d convolution copy cos cosh cumprod cumsum detach diagonal div dot
dropout einsum elu embedding embedding_bag eq erf exp expand expand_as expm1 eye feature_dropout fill flatten flip
floor floor_divide fmod full full_like gather ge gelu glu grid_sampler_2d group_norm gru gt hardsigmoid hardswish
hardtanh im2col index index_put index_select instance_norm isfinite isinf isnan layer_norm le leaky_relu lerp
lift_fresh_copy linear linspace log log10 log1p log2 log_sigmoid log_softmax logaddexp logical_and logical_not
logical_or logical_xor logsumexp lstm lt masked_fill masked_scatter matmul max max_pool1d max_pool2d
max_pool2d_with_indices max_pool3d max_pool3d_with_indices maximum mean min minimum mish mm movedim mul mv
nan_to_num narrow native_group_norm native_layer_norm ne neg new_full new_ones new_zeros nonzero norm numpy_T
one_hot ones ones_like pad permute pixel_shuffle pixel_unshuffle pow prelu prod reciprocal reflection_pad1d
reflection_pad2d reflection_pad3d relu relu6 remainder repeat repeat_interleave replication_pad1d replication_pad2d
replication_pad3d reshape rms_norm rnn_relu rnn_tanh roll round rsqrt rsub scalar_tensor
scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted select select_scatter selu sigmoid sign
silu sin sinh slice slice_scatter softmax softplus softsign sort split split_with_sizes sqrt square squeeze stack
std sub sum sym_numel sym_size t tan tanh threshold tile to topk transpose tril triu true_divide trunc type_as
unbind unflatten unfold unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_nearest1d upsample_nearest2d var
var_mean view view_as where zeros zeros_like
"""
OPERATORS = frozenset(_NAMES.split())
